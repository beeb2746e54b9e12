"""What licence-svc holds of an account, and what goes when the account is closed."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.holdings import Asked, Part, Record, picked
from kit.secrets import Vault
from kit.states import move

from . import faces
from .models import PRESENTATION, Licence, Presentation, sealed_at

_COLUMNS = (
    "id", "licence_type", "name", "number", "issuer_name", "issuer_code", "region", "dept",
    "state", "valid_from", "valid_until", "case_id", "item_code", "issued_at",
)  # fmt: skip


async def _licences(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    def record(row: Licence) -> Record:
        def text(column: str) -> str:
            bound = sealed_at("licence", column, row.id)
            return asked.vault.open(getattr(row, column), bound_to=bound)

        return {
            **picked(row, *_COLUMNS),
            "holder_name": text("holder_name"),
            "holder_number": text("holder_number"),
            "fields": faces.all_fields(asked.vault, row),
        }

    return [record(row) for row in await asked.rows(session, Licence, Licence.holder_id)]


PARTS = (Part("licences", "电子证照", "Licences", _licences),)


async def erase(session: AsyncSession, vault: Vault, account_id: str) -> None:
    """The account was closed: what somebody said a licence was shown for goes. Licences stay as
    their department issued them: they are records of the administration (档案法 art. 13, 14)."""
    held = select(Licence.id).where(Licence.holder_id == account_id)
    shown = await session.scalars(
        select(Presentation)
        .where(Presentation.licence_id.in_(held))
        .order_by(Presentation.id)
        .with_for_update()
    )
    for row in shown:
        row.purpose = vault.seal("", bound_to=sealed_at("presentation", "purpose", row.id))
        if row.state == "ready":
            move(session, row, PRESENTATION, "expire")
