"""Cases before and while they are handed in: draft, autosave, submit, withdraw, and reading."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit.auth import Caller
from kit.calls import Calls
from kit.clock import CITY, now
from kit.crash import point
from kit.errors import Conflict, Invalid, Problem, Unavailable
from kit.ids import new_id
from kit.secrets import Vault

from . import forms, mandates, materials, prefill
from .models import Case, CaseNumber, MaterialSlot, Task
from .rights import visible
from .timeline import By, note, step

log = logging.getLogger(__name__)


class WrongKind(Problem):
    status, code = 403, "applicant_kind"
    title = ("此事项不面向您当前的身份", "Not for this kind of applicant")


async def open_draft(
    session: AsyncSession,
    calls: Calls,
    vault: Vault,
    caller: Caller,
    *,
    item_code: str,
    region: str,
    channel: str,
) -> tuple[Case, list[MaterialSlot]]:
    """A new draft with a frozen copy of its item, and its materials; what is already held is not
    asked for, and what it says is filled in.

    Raises NotFound (no such item), Conflict (suspended), Unavailable (catalogue down), WrongKind,
    MandateEnds where the caller acts under a mandate that does not go so far.
    """
    item: dict[str, Any] = await calls.get("catalog", f"/v1/items/{item_code}", public=True)
    if item["state"] != "published":
        raise Conflict(
            "此事项目前暂停办理。恢复后可以重新开始。",
            "This item is suspended at present; try again when it is open.",
        )
    if caller.kind not in item["applicant_kinds"]:
        raise WrongKind(
            "此事项不能以您当前的身份办理。请切换身份后再试。",
            "This item is not for your kind of account. Switch identity.",
        )
    await mandates.check(session, caller, item["code"])
    case = Case(
        id=new_id("case"),
        state="draft",
        version=1,
        region=region,
        dept=item["dept"],
        item_code=item["code"],
        item_name=item["name"],
        item=item,
        applicant_id=caller.subject,
        applicant_kind=caller.kind,
        actor_id=caller.agent,
        mandate_id=caller.mandate,
        channel=channel,
        delivery="none",
        timeline_head="",
        created_at=now(),
    )
    case.form = forms.sealed(vault, case.id, {})
    session.add(case)
    slots = materials.open_slots(session, case, item)
    try:
        held = await materials.held_licences(calls, caller)
        materials.exempt(slots, held)
        known = await prefill.values(calls, caller, item, held)
        case.form = forms.sealed(vault, case.id, known)
    except Unavailable:
        # Asked again on submission: a licence store that is away must not stop a draft.
        log.warning("licences could not be asked for; the draft opens without exemptions")
    note(session, case, "open_draft", By.caller(caller))
    return case, slots


def save(
    case: Case,
    vault: Vault,
    *,
    form: dict[str, Any] | None,
    delivery: str | None,
    address_id: str | None,
) -> None:
    """Autosave into the (locked) case: only what is given changes. Raises Invalid, Conflict."""
    if case.state not in materials.OPEN_STATES:
        raise Conflict(
            "办件已提交,现在不能修改。需要补正时会通知您。",
            "The case is handed in; it can be changed when a correction is asked for.",
        )
    if form is not None:
        values = forms.opened(vault, case) | form
        forms.check(case.item, values, complete=False)
        case.form = forms.sealed(vault, case.id, values)
    if delivery is not None:
        _check_delivery(case, delivery)
        case.delivery = delivery
    if address_id is not None:
        case.address_id = address_id
    case.version += 1
    case.updated_at = now()


def _check_delivery(case: Case, delivery: str) -> None:
    if delivery not in ("none", *case.item["delivery"]):
        raise Invalid(
            "此事项不支持这种取证方式,请选择列出的方式。",
            "This item does not offer that delivery; choose a listed one.",
            errors=[
                {
                    "pointer": "/delivery",
                    "code": "choice",
                    "message": "请选择列出的取证方式。",
                    "message_en": "Choose one of the listed ways.",
                }
            ],
        )


async def submit(
    session: AsyncSession, calls: Calls, vault: Vault, case: Case, caller: Caller
) -> None:
    """Hand the (locked) draft in. Raises Invalid with everything that is missing, at once, and
    MandateEnds when the mandate that it comes under does not allow one more."""
    slots = await materials.of_case(session, case.id)
    if any(slot.state == "needed" and slot.licence_type for slot in slots):
        materials.exempt(slots, await materials.held_licences(calls, caller))
    errors: list[Any] = []
    checks: tuple[Callable[[], None], ...] = (
        lambda: forms.check(case.item, forms.opened(vault, case), complete=True),
        lambda: materials.check_complete(slots),
        lambda: _check_address(case),
    )
    for check in checks:
        try:
            check()
        except Invalid as problem:
            errors += problem.extra["errors"]
    if errors:
        raise Invalid(
            "还有内容需要补充,请看 errors 中逐项的说明。您填写的内容已保存。",
            "Something is still missing; see errors. What you filled in is saved.",
            errors=errors,
        )
    await mandates.use(session, caller, case)
    case.submitted_at = now()
    case.number = await _number(session, case, case.submitted_at)
    step(
        session,
        case,
        "submit",
        By.caller(caller),
        case_id=case.id,
        item_code=case.item_code,
        item_version=case.item["version"],
        item_name=case.item_name,
        applicant_id=case.applicant_id,
        channel=case.channel,
    )
    point("case_submit_in_tx")


def _check_address(case: Case) -> None:
    if case.delivery == "courier" and not case.address_id:
        raise Invalid(
            "请选择寄送地址。",
            "Choose a delivery address.",
            errors=[
                {
                    "pointer": "/address_id",
                    "code": "missing",
                    "message": "请选择寄送地址。",
                    "message_en": "Choose a delivery address.",
                }
            ],
        )


async def _number(session: AsyncSession, case: Case, at: datetime) -> str:
    """办件编号: 31-character code of the item, date, four-digit serial."""
    day = at.astimezone(CITY).date()
    first = insert(CaseNumber).values(task_code=case.item["task_code"], day=day, last=1)
    serial = await session.scalar(
        first.on_conflict_do_update(
            index_elements=["task_code", "day"], set_={"last": CaseNumber.last + 1}
        ).returning(CaseNumber.last)
    )
    return f"{case.item['task_code']}{day:%Y%m%d}{serial:04d}"


async def withdraw(session: AsyncSession, case: Case, caller: Caller) -> None:
    """Take the (locked) case back; what was paid is refunded by payment-svc."""
    step(
        session,
        case,
        "withdraw",
        By.caller(caller),
        case_id=case.id,
        applicant_id=case.applicant_id,
    )
    case.outcome = "withdrawn"
    await session.execute(
        update(Task)
        .where(Task.case_id == case.id, Task.state.in_(("pending", "claimed")))
        .values(state="dropped", version=Task.version + 1)
    )


async def listed(
    session: AsyncSession, caller: Caller, *, after: str | None, limit: int, state: str | None
) -> Sequence[Case]:
    """The caller's cases, newest first; one more than `limit` when there is a next page."""
    query = select(Case).where(visible(caller)).order_by(Case.id.desc()).limit(limit + 1)
    if after:
        query = query.where(Case.id < after)
    if state:
        query = query.where(Case.state == state)
    return (await session.scalars(query)).all()
