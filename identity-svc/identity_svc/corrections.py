"""Correcting a fact of one's profile (个人信息保护法 art. 46): asked for by the person, decided by
the department that the fact comes from, within 15 working days.

What stands in a licence is changed by applying for its item, not here: the department refuses and
names the item. What people declared of themselves they change themselves.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, false, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.identity import FactCorrectionRequested
from kit import reads
from kit.auth import Caller
from kit.clock import WorkCalendar, city_day, now
from kit.errors import Conflict, Invalid, NotFound
from kit.ids import new_id
from kit.outbox import emit
from kit.secrets import Vault
from kit.states import move

from . import access_logs, profile_rules, profiles
from .models_corrections import CORRECTION_TRANSITIONS, FactCorrection
from .models_personal import ProfileFact

WORKING_DAYS = 15
REGISTER = "PSB"
"""The register of citizens is kept by the police (户口登记条例 art. 3)."""
View = dict[str, Any]


def _sealed(vault: Vault, row: FactCorrection, column: str, text: str) -> bytes:
    return vault.seal(text, bound_to=f"fact_correction|{column}|{row.id}")


def _opened(vault: Vault, row: FactCorrection, column: str) -> str | None:
    sealed = getattr(row, column)
    bound = f"fact_correction|{column}|{row.id}"
    return vault.open(sealed, bound_to=bound) if sealed is not None else None


async def ask(
    session: AsyncSession, vault: Vault, account_id: str, *, fact_id: str, wanted: str, reason: str
) -> FactCorrection:
    """Say that a fact of one's own is wrong. Raises NotFound, Conflict for what one declared
    oneself or has asked for already, Invalid for a value that it cannot have."""
    fact = await session.get(ProfileFact, fact_id)
    if fact is None or fact.account_id != account_id:
        raise NotFound("没有找到您的这项信息。", "There is no such fact in your profile.")
    if fact.source == "self":
        raise Conflict(
            "这是您自行填报的信息,可直接修改或撤回。",
            "You declared this yourself: change it or take it back.",
        )
    _check(fact, wanted)
    at = now()
    row = FactCorrection(
        id=new_id("cor"),
        account_id=account_id,
        fact_id=fact.id,
        key=fact.key,
        source=fact.source,
        source_ref=fact.source_ref,
        dept=fact.dept or REGISTER,
        state="requested",
        version=1,
        asked_at=at,
        due=WorkCalendar.load().add_working_days(city_day(at), WORKING_DAYS).due,
    )
    row.wanted = _sealed(vault, row, "wanted", wanted)
    row.reason = _sealed(vault, row, "reason", reason)
    session.add(row)
    try:
        async with session.begin_nested():
            await session.flush()
    except IntegrityError:
        raise Conflict(
            "您已申请更正此项,请等待答复。", "You asked for this already; wait for the answer."
        ) from None
    requested = FactCorrectionRequested(**_facts(row), due=row.due)
    emit(session, requested, subject=row.id, version=1, dept=row.dept)
    return row


def _facts(row: FactCorrection) -> dict[str, str]:
    return {"correction_id": row.id, "account_id": row.account_id, "fact": row.key}


def _check(fact: ProfileFact, value: str) -> None:
    """Raises Invalid; what a licence or case should say is free text, for people to read."""
    if fact.source == "register" and not profile_rules.fits(fact.key, value, city_day(now())):
        raise Invalid(
            "更正后的内容格式不对。日期请按 2026-09-30 的样子填写,性别填 male 或 female。",
            "This is not a value that it can have: a date as 2026-09-30, gender male or female.",
        )


async def of_account(
    session: AsyncSession, account_id: str, *, before: str | None, limit: int
) -> Sequence[FactCorrection]:
    """Those of an account, the latest first; one more than `limit` when there is more."""
    query = select(FactCorrection).where(FactCorrection.account_id == account_id)
    if before is not None:
        query = query.where(FactCorrection.id < before)
    return (await session.scalars(query.order_by(FactCorrection.id.desc()).limit(limit + 1))).all()


async def withdraw(session: AsyncSession, account_id: str, correction_id: str) -> FactCorrection:
    """Raises NotFound, IllegalMove once it is decided."""
    row = await session.get(FactCorrection, correction_id, with_for_update=True)
    if row is None or row.account_id != account_id:
        raise _unknown()
    move(session, row, CORRECTION_TRANSITIONS, "withdraw", **_facts(row))
    return row


def _on_desk(caller: Caller) -> ColumnElement[bool]:
    """Facts belong to a department, not to a district or item: whoever is limited to items has
    none of them."""
    if caller.kind != "staff" or not caller.dept or caller.items is not None:
        return false()
    return and_(FactCorrection.dept == caller.dept)


async def desk(
    session: AsyncSession, caller: Caller, *, state: str, after: str | None, limit: int
) -> Sequence[FactCorrection]:
    """Those that the caller's department decides, the oldest first; one more than `limit`."""
    query = select(FactCorrection).where(_on_desk(caller), FactCorrection.state == state)
    if after is not None:
        query = query.where(FactCorrection.id > after)
    return (await session.scalars(query.order_by(FactCorrection.id).limit(limit + 1))).all()


async def one(
    session: AsyncSession, caller: Caller, correction_id: str, *, lock: bool = False
) -> FactCorrection:
    """One on the caller's desk; the person sees that the department read it. Raises NotFound."""
    query = select(FactCorrection).where(FactCorrection.id == correction_id, _on_desk(caller))
    row: FactCorrection | None = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise _unknown()
    read = reads.reader(caller)
    await access_logs.keep(
        session,
        row.account_id,
        reader=read["reader_id"],
        dept=read["reader_dept"],
        kind="account",
        object_id=row.id,
        purpose="correction",
        at=now(),
    )
    session.info[reads.TOLD] = True
    return row


async def accept(
    session: AsyncSession,
    vault: Vault,
    caller: Caller,
    correction_id: str,
    *,
    value: str | None,
    answer: str,
) -> FactCorrection:
    """It is wrong: the fact says `value` from now on, or what was asked for. Raises NotFound,
    IllegalMove, Conflict for what stands in a licence or is gone, Invalid."""
    row = await one(session, caller, correction_id, lock=True)
    if row.source != "register" and row.state == "requested":
        raise Conflict(
            "证照和办件所载内容须通过申请相应事项变更。请退回并注明应申请的事项。",
            "What a licence or case says is changed by applying for an item: refuse, naming it.",
        )
    fact = await session.get(ProfileFact, row.fact_id)
    said = value or _opened(vault, row, "wanted") or ""
    if fact is None:
        raise Conflict("这项信息已不存在。", "The fact is no longer there.")
    _check(fact, said)
    _decide(vault, row, caller, answer)
    move(session, row, CORRECTION_TRANSITIONS, "accept", **_facts(row))
    await profiles.correct(session, vault, row.account_id, fact_id=row.fact_id, value=said)
    return row


async def refuse(
    session: AsyncSession,
    vault: Vault,
    caller: Caller,
    correction_id: str,
    *,
    answer: str,
    item_code: str | None,
) -> FactCorrection:
    """It is right, or changed by applying for `item_code`. Raises NotFound, IllegalMove."""
    row = await one(session, caller, correction_id, lock=True)
    _decide(vault, row, caller, answer)
    row.item_code = item_code
    move(session, row, CORRECTION_TRANSITIONS, "refuse", **_facts(row), item_code=item_code)
    return row


def _decide(vault: Vault, row: FactCorrection, caller: Caller, answer: str) -> None:
    row.decided_at, row.decided_by = now(), caller.subject
    row.answer = _sealed(vault, row, "answer", answer)


async def detail(session: AsyncSession, vault: Vault, row: FactCorrection) -> View:
    """With what it should say, and what the fact says now."""
    fact = await session.get(ProfileFact, row.fact_id)
    return {
        **line(row),
        "wanted": _opened(vault, row, "wanted"),
        "reason": _opened(vault, row, "reason"),
        "answer": _opened(vault, row, "answer"),
        "present": profiles.view(vault, fact)["value"] if fact else None,
    }


def line(row: FactCorrection) -> View:
    """Without anything personal."""
    about = profile_rules.about(row.key) or {"name": row.key, "name_en": row.key}
    columns = (
        "id", "fact_id", "key", "source", "dept", "state", "version", "asked_at", "due",
        "decided_at", "item_code",
    )  # fmt: skip
    found = {name: getattr(row, name) for name in columns}
    return {
        **found,
        "name": about["name"],
        "name_en": about["name_en"],
        "overdue": row.state == "requested" and row.due < city_day(now()),
    }


def _unknown() -> NotFound:
    return NotFound("没有找到这项更正申请。", "There is no such request for you.")
