"""Real-name levels: what is proven of an account, and how it rises.

L0 nothing; L1 the telephone, by a code; L2 name and identity number, by the register of citizens;
L3 the original document beside the person, seen at a counter; L4 with its chip read there as well.
"""

from typing import Literal

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.identity import AccountVerified
from kit.caller import Caller
from kit.clock import now
from kit.db import Sessions
from kit.errors import Problem, Unavailable
from kit.outbox import emit
from kit.secrets import Vault

from . import access_logs, accounts
from .models import Account, LoginSession
from .providers import RealNames

LEVELS = ("L0", "L1", "L2", "L3", "L4")
ONLINE = "L2"
"""The highest level that can be reached without coming to a counter."""
Raised = Literal["L1", "L2", "L3", "L4"]
IN_PERSON: dict[str, Raised] = {"document": "L3", "document_and_chip": "L4"}


class NotProven(Problem):
    status, code, title = 422, "not_proven", ("核验没有通过", "The check did not succeed")


def needed(acr_values: str) -> str:
    """The lowest of the levels that a client names; L0 when it names none that we know."""
    return min((v for v in acr_values.split() if v in LEVELS), default="L0")


def _rise(
    session: AsyncSession,
    account: Account,
    level: Raised,
    by: Literal["phone", "real_name", "in_person"],
) -> None:
    if account.level < level:
        account.level = level
        account.version += 1
        verified = AccountVerified(account_id=account.id, level=level, by=by)
        emit(session, verified, subject=account.id, version=account.version)


async def registered_with_phone(session: AsyncSession, vault: Vault, phone: str) -> Account:
    """An account was registered with a number that had been proven by a code."""
    query = select(Account).where(Account.phone_index == vault.index(f"phone|{phone}"))
    account = (await session.scalars(query.with_for_update())).one()
    _rise(session, account, "L1", "phone")
    return account


async def phone_proven(session: AsyncSession, login: LoginSession) -> None:
    """Who is signed in showed that the account's telephone is in their hand."""
    account = await session.get_one(Account, login.account_id, with_for_update=True)
    mine = await session.get_one(LoginSession, login.id, with_for_update=True)
    _rise(session, account, "L1", "phone")
    mine.acr = account.level
    mine.amr = [*dict.fromkeys((*mine.amr, "sms"))]


async def check_name(sessions: Sessions, vault: Vault, names: RealNames | None, login: str) -> None:
    """Ask the register whether name and number of the signed-in account belong together; L2 when
    they do. Raises NotProven, or Unavailable when the register does not answer."""
    async with sessions() as session:
        found = await session.get_one(LoginSession, login)
        account = await session.get_one(Account, found.account_id)
        name, id_number = accounts.name_and_number(vault, account)
    if names is None or id_number is None or account.kind != "person" or account.level < "L1":
        raise _unavailable()
    verdict = await names.verify(name, id_number)
    if verdict.result == "unavailable":
        raise _unavailable()
    if verdict.result != "match":
        raise NotProven(
            "姓名与身份证号码核对不一致。请确认注册时填写无误;如信息有变更,请携带证件到窗口办理。",
            "Name and identity number were not found to belong together. If you registered them "
            "as they stand on your card, come to a service counter with it.",
        )
    try:
        async with sessions.begin() as session:
            account = await session.get_one(Account, account.id, with_for_update=True)
            mine = await session.get_one(LoginSession, login, with_for_update=True)
            if account.state != "active":
                raise _unavailable()
            _rise(session, account, "L2", "real_name")
            mine.acr = account.level
    except IntegrityError:
        raise NotProven(
            "此身份证号码已在另一账户完成实名。请使用该账户登录,或到窗口办理。",
            "This identity number is proven on another account. Sign in there, or come to a "
            "service counter.",
        ) from None


async def seen_in_person(
    session: AsyncSession,
    vault: Vault,
    *,
    phone: str,
    name: str,
    id_number: str,
    seen: str,
    staff: Caller,
) -> Account:
    """A member of staff saw the person with the document. Raises NotProven, alike for an unknown
    number, an account that the register has not confirmed (below L2), and data that differ."""
    index = vault.index(f"phone|{phone}")
    query = select(Account).where(Account.phone_index == index, Account.kind == "person")
    account = await session.scalar(query.with_for_update())
    if (
        account is None
        or account.state != "active"
        or account.level < "L2"
        or accounts.name_and_number(vault, account) != (name, id_number)
    ):
        raise NotProven(
            "手机号、姓名、身份证号码与已完成实名(L2)的账户不符。请核对证件;尚未实名的,请先在线完成。",
            "Telephone, name and identity number are not those of an account at level L2. Check "
            "the document; who has not proven his name online does that first.",
        )
    _rise(session, account, IN_PERSON[seen], "in_person")
    await access_logs.keep(
        session,
        account.id,
        reader=staff.subject,
        dept=staff.dept or "",
        kind="account",
        object_id=account.id,
        purpose="in_person_check",
        at=now(),
    )
    return account


def _unavailable() -> Unavailable:
    return Unavailable(
        "实名核验暂时无法进行,您的信息没有丢失。请稍后再试。",
        "The check cannot be made at the moment; nothing is lost. Try again later.",
        retry_after=30,
    )
