"""What case-svc holds of an account, what must end before the account does, and what goes then."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, and_, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from kit.holdings import MOST_MATTERS, PAGE, Asked, Open, Part, Record, picked
from kit.secrets import Vault

from . import forms
from .models import Case, File, MaterialSlot

OVER = ("draft", "closed", "withdrawn", "not_accepted")
_COLUMNS = (
    "id", "number", "state", "item_code", "item_name", "region", "dept", "channel", "actor_id",
    "mandate_id", "delivery", "address_id", "created_at", "submitted_at", "accepted_on",
    "decided_on", "outcome", "reason", "payment_id", "licence_id",
)  # fmt: skip


async def _cases(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    rows = await asked.rows(session, Case, Case.applicant_id)
    return [{**picked(row, *_COLUMNS), "form": forms.opened(asked.vault, row)} for row in rows]


async def _files(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    """What was handed in, and where each document itself is read (`download`); one that another
    has replaced since is named alone."""
    columns = (File.id, File.case_id, File.media_type, File.size, File.digest, File.uploaded_at)
    slot = and_(MaterialSlot.case_id == File.case_id, MaterialSlot.file_id == File.id)
    query = (
        select(*columns, MaterialSlot.name.label("material"), MaterialSlot.id.label("slot_id"))
        .join(Case, Case.id == File.case_id)
        .outerjoin(MaterialSlot, slot)
        .where(Case.applicant_id == asked.account_id, File.id > asked.after)
        .order_by(File.id)
        .limit(PAGE)
    )
    return [_with_address(row) for row in (await session.execute(query)).mappings()]


def _with_address(row: RowMapping) -> Record:
    record = dict(row)
    slot_id = record.pop("slot_id")
    path = f"/v1/cases/{record['case_id']}/materials/{slot_id}/content"
    return {**record, "download": path if slot_id is not None else None}


PARTS = (
    Part("cases", "办件", "Cases", _cases),
    Part("case_files", "办件材料清单", "Files of cases", _files),
)


async def open_matters(session: AsyncSession, account_id: str) -> list[Open]:
    """The cases that were handed in and are not at their end."""
    query = select(Case.id).where(Case.applicant_id == account_id, Case.state.not_in(OVER))
    found = await session.scalars(query.order_by(Case.id.desc()).limit(MOST_MATTERS))
    return [("case", case_id) for case_id in found]


async def erase(session: AsyncSession, vault: Vault, account_id: str) -> None:
    """The account was closed: what was typed and uploaded into drafts goes. What was handed in
    stays, as a record of the administration (档案法 art. 13, 14)."""
    drafts = await session.scalars(
        select(Case)
        .where(Case.applicant_id == account_id, Case.state == "draft")
        .order_by(Case.id)
        .with_for_update()
    )
    for case in drafts:
        case.form, case.address_id = forms.sealed(vault, case.id, {}), None
        case.version += 1
        mine = update(MaterialSlot).where(
            MaterialSlot.case_id == case.id, MaterialSlot.file_id.is_not(None)
        )
        await session.execute(mine.values(file_id=None, state="needed"))
        await session.execute(delete(File).where(File.case_id == case.id))
