"""Closing an account (个人信息保护法 art. 47): asked for, seven days to think, then erased.

While cases, payments or parcels are open an account cannot be closed, neither when it is asked
for nor at the end of the seven days. Those who keep them are asked each time; when one cannot be
reached nothing is decided. What was personal goes; what remains is an id without a name, and the
access log of who read what. Whoever represents a firm closes it first, or lets another claim it.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from kit.auth import Caller
from kit.calls import Calls
from kit.clock import now
from kit.errors import Conflict, NotFound, Problem
from kit.ids import new_id
from kit.secrets import Vault
from kit.states import move

from . import accounts, firms, logins, mandates
from .models import ACCOUNT_TRANSITIONS, Account, Consent
from .models_closing import CLOSING_TRANSITIONS, AccountClosing
from .models_corrections import FactCorrection
from .models_exports import DataExport
from .models_personal import ProfileFact, ProfileTag
from .models_sign_in import Passkey, WeChatBinding
from .models_upstream import UpstreamLink

THINKING = timedelta(days=7)
KEEPERS = ("case", "payment", "logistics")
"""Who keeps what must come to its end first."""
PERSONAL = (
    FactCorrection,
    DataExport,
    ProfileTag,
    ProfileFact,
    Consent,
    WeChatBinding,
    Passkey,
    UpstreamLink,
)
Matters = list[dict[str, str]]


class OpenMatters(Problem):
    status, code, title = 409, "open_matters", ("还有未办结的事项", "Something is still open")


async def open_elsewhere(calls: Calls, account_id: str) -> Matters:
    """What other services must bring to its end first: kind and id of each. Raises Unavailable
    (503) when one of them cannot be asked."""
    found: Matters = []
    for service in KEEPERS:
        answer = await calls.get(service, f"/internal/v1/accounts/{account_id}/open-matters")
        found += [{"kind": item["kind"], "id": item["id"]} for item in answer["items"]]
    return found


async def _open_here(session: AsyncSession, account_id: str) -> Matters:
    return [{"kind": "firm", "id": firm} for firm in await firms.represented(session, account_id)]


async def may_close(session: AsyncSession, caller: Caller) -> None:
    """A person closes his own account, a firm's its legal representative. Raises NotFound."""
    firm = caller.kind == "enterprise"
    if firm and caller.subject not in await firms.represented(session, caller.agent or ""):
        raise NotFound(
            "企业账户只能由法定代表人注销。",
            "Only its legal representative closes the account of a firm.",
        )


async def ask(
    session: AsyncSession, account_id: str, *, asked_by: str, elsewhere: Matters
) -> AccountClosing:
    """Close this account in seven days. Raises OpenMatters, Conflict when it was asked already."""
    matters = elsewhere + await _open_here(session, account_id)
    if matters:
        raise OpenMatters(
            "您还有未办结的办件、缴款、寄递,或仍是企业的法定代表人。办结、撤回或移交后再注销账户。",
            "Cases, payments or parcels are still open, or you represent a firm. Finish, withdraw "
            "or hand them over first.",
            matters=matters,
        )
    at = now()
    row = AccountClosing(
        id=new_id("closing"),
        account_id=account_id,
        asked_by=asked_by,
        state="asked",
        version=1,
        asked_at=at,
        closes_at=at + THINKING,
        matters=[],
    )
    session.add(row)
    try:
        async with session.begin_nested():
            await session.flush()
    except IntegrityError:
        raise Conflict(
            "已申请注销,七天内可以撤销。", "Closing was asked for already; it can be undone."
        ) from None
    return row


async def latest(session: AsyncSession, account_id: str, *, lock: bool = False) -> AccountClosing:
    """The last closing of this account. Raises NotFound."""
    query = (
        select(AccountClosing)
        .where(AccountClosing.account_id == account_id)
        .order_by(AccountClosing.id.desc())
        .limit(1)
    )
    found: AccountClosing | None = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFound("没有申请过注销账户。", "Nobody asked for this account to be closed.")
    return found


async def withdraw(session: AsyncSession, account_id: str) -> None:
    """Keep the account after all. Raises NotFound, IllegalMove."""
    row = await latest(session, account_id, lock=True)
    row.ended_at = now()
    move(session, row, CLOSING_TRANSITIONS, "withdraw")


async def due(session: AsyncSession, *, limit: int = 50) -> Sequence[tuple[str, str]]:
    """Closings whose days are over: (id, account). A suspended account waits until it is restored,
    so that nobody gets rid of what it is suspended for."""
    query = (
        select(AccountClosing.id, AccountClosing.account_id)
        .join(Account, Account.id == AccountClosing.account_id)
        .where(
            AccountClosing.state == "asked",
            AccountClosing.closes_at <= now(),
            Account.state == "active",
        )
        .order_by(AccountClosing.closes_at)
        .limit(limit)
    )
    return [(row.id, row.account_id) for row in await session.execute(query)]


async def finish(
    session: AsyncSession, vault: Vault, closing_id: str, *, elsewhere: Matters
) -> None:
    """The days are over: erase and close, or refuse since something is open again. Does nothing
    when it was withdrawn meanwhile, or done by another process."""
    row = await session.get(AccountClosing, closing_id, with_for_update=True)
    if row is None or row.state != "asked":
        return
    account = await session.get_one(Account, row.account_id, with_for_update=True)
    if account.state != "active":
        return
    row.ended_at = now()
    row.matters = elsewhere + await _open_here(session, account.id)
    if row.matters:
        move(session, row, CLOSING_TRANSITIONS, "refuse")
        return
    await _erase(session, vault, account)
    move(session, row, CLOSING_TRANSITIONS, "close")
    # Last, so that the event tells of an account that is erased.
    move(session, account, ACCOUNT_TRANSITIONS, "close", account_id=account.id)


async def _erase(session: AsyncSession, vault: Vault, account: Account) -> None:
    await mandates.end_all(session, vault, account.id)
    await firms.end_all(session, account.id)
    mine: dict[str, Any] = {"account_id": account.id}
    for personal in PERSONAL:
        await session.execute(delete(personal).filter_by(**mine))
    await logins.end_all(session, account.id, "account_closed")
    accounts.forget_person(vault, account)
