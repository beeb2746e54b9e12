"""Mandates (委托): one side asks, the other confirms, either may end it at once.

How often a mandate was used is decided by case-svc, which tells by an event; what may be done
under it is checked there too, on a copy fed by ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.auth import Caller
from kit.clock import now
from kit.errors import Conflict, Forbidden, Invalid, NotFound
from kit.ids import new_id
from kit.secrets import Vault
from kit.states import move

from . import accounts, acting, firms
from .models import Account
from .models_agency import MANDATE_TRANSITIONS, Mandate

Side = Literal["principal", "agent"]
LONGEST = timedelta(days=3 * 366)
AT_THE_COUNTER = timedelta(days=1)
"""The longest that a citizen lets a member of staff fill in for him."""


@dataclass(frozen=True)
class Party:
    """Who is named by the side that asks: a person by name and telephone, or a firm by its code."""

    name: str | None = None
    phone: str | None = None
    uscc: str | None = None


@dataclass(frozen=True)
class Me:
    """The caller as a party: an account, and what stands for it where it was only named."""

    account: Account
    index: str | None

    def on(self, side: Side) -> ColumnElement[bool]:
        """The condition on Mandate under which the caller stands on this side."""
        party = Mandate.principal_id if side == "principal" else Mandate.agent_id
        named = Mandate.principal_index if side == "principal" else Mandate.agent_index
        mine: ColumnElement[bool] = party == self.account.id
        if self.index is None:
            return mine
        return or_(mine, and_(party.is_(None), named == self.index))

    def side(self, mandate: Mandate) -> Side:
        principal = mandate.principal_id == self.account.id or (
            mandate.principal_id is None and mandate.principal_index == self.index
        )
        return "principal" if principal else "agent"


async def me(session: AsyncSession, vault: Vault, caller: Caller) -> Me:
    """Raises NotFound for a caller that has no account."""
    account = await session.get(Account, caller.subject)
    if account is None:
        raise _unknown()
    if account.kind == "enterprise":
        return Me(account, account.id_index)
    return Me(account, await firms.asked_of(session, vault, account.id))


async def ask(
    session: AsyncSession,
    vault: Vault,
    caller: Caller,
    *,
    side: Side,
    other: Party,
    item_codes: list[str] | None,
    valid_from: datetime | None,
    valid_until: datetime,
    max_uses: int | None,
) -> Mandate:
    """A principal grants, or an agent asks for, a mandate: the other side, named by `other`, has
    to confirm. Times are UTC; at most three years, a day for staff. Raises Forbidden, Invalid.
    """
    mine = await me(session, vault, caller)
    await _may_ask(session, mine, caller, side)
    start = max(valid_from or now(), now())
    longest = AT_THE_COUNTER if mine.account.kind == "staff" else LONGEST
    if not start < valid_until <= start + longest:
        raise _unfit(
            "valid_until",
            "结束时间须晚于开始时间,最长三年(窗口代办最长一天)。",
            "The end must be after the start, at most three years later (staff: one day).",
        )
    if side == "principal" and other.uscc is not None:
        raise _unfit("other", "受托人须为个人。", "The agent must be a person.")
    if other.uscc is not None:
        index, text, phone = vault.index(f"id|{other.uscc}"), other.uscc, None
    else:
        assert other.name is not None
        assert other.phone is not None
        text, phone = other.name, other.phone
        index = firms.person_index(vault, text, phone)
    if index == mine.index:
        raise _unfit("other", "不能委托自己。", "Name somebody else than yourself.")
    mandate = Mandate(
        id=new_id("mnd"),
        asked_by=side,
        state="requested",
        version=1,
        item_codes=sorted(set(item_codes)) if item_codes is not None else None,
        valid_from=start,
        valid_until=valid_until,
        max_uses=max_uses,
        uses=0,
    )
    if side == "principal":
        mandate.principal_id, mandate.agent_index = mine.account.id, index
    else:
        mandate.agent_id, mandate.principal_index = mine.account.id, index
    mandate.label = firms.sealed_label(vault, "mandate", mandate.id, text, phone)
    session.add(mandate)
    await session.flush()
    await session.refresh(mandate)
    return mandate


async def _may_ask(session: AsyncSession, mine: Me, caller: Caller, side: Side) -> None:
    kind = mine.account.kind
    fits = {"principal": ("person", "enterprise"), "agent": ("person", "staff")}
    if mine.account.level < firms.LEVEL or kind not in fits[side]:
        raise Forbidden(
            "委托须由实名(L2)的个人或企业办理;受托人须为个人。",
            "A mandate is given by a person or firm at level L2, and held by a person.",
        )
    if kind == "enterprise":
        await firms.managed(session, mine.account.id, caller)


async def find(
    session: AsyncSession, vault: Vault, caller: Caller, mandate_id: str, *, lock: bool = False
) -> tuple[Mandate, Side]:
    """A mandate of the caller's and the side that he stands on. Raises NotFound."""
    mine = await me(session, vault, caller)
    query = select(Mandate).where(
        Mandate.id == mandate_id, or_(mine.on("principal"), mine.on("agent"))
    )
    if lock:
        query = query.with_for_update()
        if mine.account.kind == "enterprise":
            await firms.managed(session, mine.account.id, caller)
    mandate: Mandate | None = await session.scalar(query)
    if mandate is None:
        raise _unknown()
    return mandate, mine.side(mandate)


async def answer(
    session: AsyncSession, vault: Vault, caller: Caller, mandate_id: str, action: str
) -> Mandate:
    """The side that did not ask confirms or refuses. Raises NotFound, Forbidden for the side that
    asked, IllegalMove, Conflict when its time is over."""
    mandate, side = await find(session, vault, caller, mandate_id, lock=True)
    if side == mandate.asked_by:
        raise Forbidden(
            "须由对方确认或拒绝;您可以撤销。",
            "The other side confirms or refuses; you can revoke it.",
        )
    if action == "confirm":
        if mandate.valid_until <= now():
            raise Conflict("委托期限已过,请重新提出。", "Its time is over; ask for a new one.")
        if side == "principal":
            mandate.principal_id = caller.subject
        else:
            mandate.agent_id = caller.subject
        if mandate.principal_id == mandate.agent_id:
            raise Conflict("不能委托自己。", "Nobody gives a mandate to himself.")
    mandate.answered_at = now()
    move(
        session,
        mandate,
        MANDATE_TRANSITIONS,
        action,
        **_facts(mandate),
        item_codes=mandate.item_codes,
        valid_from=mandate.valid_from,
        valid_until=mandate.valid_until,
        max_uses=mandate.max_uses,
    )
    return mandate


async def revoke(session: AsyncSession, vault: Vault, caller: Caller, mandate_id: str) -> Mandate:
    """Either side ends it; the agent's tokens under it are refused from now on."""
    mandate, _ = await find(session, vault, caller, mandate_id, lock=True)
    await _end(session, mandate, "revoke")
    return mandate


async def used(session: AsyncSession, mandate_id: str, uses: int) -> None:
    """So many matters were handed in under it. A lower number is old news; what is revoked or
    expired stays so."""
    mandate = await session.get(Mandate, mandate_id, with_for_update=True)
    if mandate is None or uses <= mandate.uses:
        return
    mandate.uses = uses
    if mandate.state == "active" and mandate.max_uses is not None and uses >= mandate.max_uses:
        move(session, mandate, MANDATE_TRANSITIONS, "use_up", **_facts(mandate))


async def expire(session: AsyncSession, *, limit: int = 200) -> int:
    """Close those whose time is over; returns how many."""
    due = (
        select(Mandate)
        .where(Mandate.state.in_(("requested", "active", "used_up")), Mandate.valid_until <= now())
        .order_by(Mandate.valid_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = (await session.scalars(due)).all()
    for mandate in found:
        await _end(session, mandate, "expire")
    return len(found)


async def end_all(session: AsyncSession, vault: Vault, account_id: str) -> None:
    """An account is closed: its mandates end on both sides, and nobody is named in them."""
    party = or_(Mandate.principal_id == account_id, Mandate.agent_id == account_id)
    query = select(Mandate).where(party).order_by(Mandate.id).with_for_update()
    for mandate in (await session.scalars(query)).all():
        if (mandate.state, "revoke") in MANDATE_TRANSITIONS:
            await _end(session, mandate, "revoke")
        mandate.label = firms.sealed_label(vault, "mandate", mandate.id, accounts.GONE, None)


async def _end(session: AsyncSession, mandate: Mandate, action: str) -> None:
    mandate.ended_at = now()
    move(session, mandate, MANDATE_TRANSITIONS, action, **_facts(mandate))
    await acting.end(session, mandate_id=mandate.id)


def _facts(mandate: Mandate) -> dict[str, Any]:
    return {
        "mandate_id": mandate.id,
        "principal_id": mandate.principal_id,
        "agent_id": mandate.agent_id,
    }


async def listed(
    session: AsyncSession,
    mine: Me,
    *,
    side: Side | None,
    state: str | None,
    after: str | None,
    limit: int,
) -> Sequence[Mandate]:
    """The caller's mandates, the latest first; one more than `limit` when there is more."""
    sides: tuple[Side, ...] = (side,) if side else ("principal", "agent")
    query = select(Mandate).where(or_(*(mine.on(one) for one in sides)))
    if state is not None:
        query = query.where(Mandate.state == state)
    if after is not None:
        query = query.where(Mandate.id < after)
    return (await session.scalars(query.order_by(Mandate.id.desc()).limit(limit + 1))).all()


async def shown(
    session: AsyncSession, vault: Vault, mine: Me, mandates: Sequence[Mandate]
) -> list[dict[str, Any]]:
    """Mandates as one of their sides sees them: names of persons masked."""
    ids = {one for row in mandates for one in (row.principal_id, row.agent_id) if one}
    rows = (await session.scalars(select(Account).where(Account.id.in_(ids)))).all() if ids else []
    names = {account.id: accounts.display_name(vault, account) for account in rows}
    found = []
    for row in mandates:
        side = mine.side(row)
        named = firms.label(vault, row) if row.asked_by == side else None
        principal, agent = names.get(row.principal_id or ""), names.get(row.agent_id or "")
        found.append(
            {
                **{name: getattr(row, name) for name in _SHOWN},
                "side": side,
                "principal_name": principal or (named if side == "agent" else None),
                "agent_name": agent or (named if side == "principal" else None),
            }
        )
    return found


_SHOWN = (
    "id",
    "state",
    "version",
    "asked_by",
    "principal_id",
    "agent_id",
    "item_codes",
    "valid_from",
    "valid_until",
    "max_uses",
    "uses",
    "created_at",
)


def _unfit(field: str, zh: str, en: str) -> Invalid:
    place = {"pointer": f"/{field}", "code": "unfit", "message": zh, "message_en": en}
    return Invalid(zh, en, errors=[place])


def _unknown() -> NotFound:
    return NotFound("没有找到这份委托。", "There is no such mandate for you.")
