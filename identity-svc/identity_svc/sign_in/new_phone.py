"""Changing the telephone number of an account: the new one proves itself, the old one is told."""

import logging
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from kit.auth import Caller
from kit.clock import now
from kit.db import Sessions
from kit.errors import Conflict
from kit.ids import new_id
from kit.secrets import Vault

from .. import accounts, levels, phone_codes
from ..channels import Messages
from ..logins import Doorman
from ..models import Account, LoginSession
from .phones import proven_owner
from .ways import fresh, own

log = logging.getLogger(__name__)
TOLD_WITHIN = timedelta(days=1)
AT_ONCE = 50


async def change(
    at: Doorman, caller: Caller, messages: Messages | None, *, phone: str, code_id: str, code: str
) -> None:
    """Give the caller's account this number, which the code proves. Raises WrongCode, Conflict
    when another account has proven it, and as `ways.fresh`."""
    async with at.sessions.begin() as session:
        login_id = (await fresh(session, caller)).id
        right = await phone_codes.use(
            session, at.vault, code_id=code_id, code=code, phone=phone, purpose="change_phone"
        )
    if not right:
        raise phone_codes.wrong_code()
    try:
        async with at.sessions.begin() as session:
            await accounts.free_phone(session, at.vault, phone)
            account = await own(session, caller.subject, lock=True)
            owner = await proven_owner(session, at.vault, phone)
            if owner is not None and owner.id != account.id:
                raise _taken()
            accounts.give_phone(at.vault, account, phone)
            if account.former_phone is not None:
                account.former_phone_until = now() + TOLD_WITHIN
            await levels.phone_proven(session, await session.get_one(LoginSession, login_id))
    except IntegrityError:
        raise _taken() from None
    await tell_former(at.sessions, at.vault, messages, account_id=caller.subject)


async def tell_former(
    sessions: Sessions, vault: Vault, messages: Messages | None, *, account_id: str | None = None
) -> None:
    """Tell numbers that they open their account no longer; those that cannot be told are tried
    again by the job, for a day."""
    if messages is None:
        return
    query = select(Account).where(Account.former_phone.is_not(None)).limit(AT_ONCE)
    if account_id is not None:
        query = query.where(Account.id == account_id)
    async with sessions() as session:
        waiting = list(await session.scalars(query))
    for account in waiting:
        number = accounts.former_phone_of(vault, account)
        sent = await messages.send_notice(number, reference=new_id("note"))
        over = account.former_phone_until is None or account.former_phone_until < now()
        if sent == "refused" and not over:
            continue
        if sent == "refused":
            log.warning("a former number was not told", extra={"fields": {"account": account.id}})
        async with sessions.begin() as session:
            found = await session.get_one(Account, account.id, with_for_update=True)
            if found.former_phone == account.former_phone:
                found.former_phone = found.former_phone_until = None


def _taken() -> Conflict:
    return Conflict(
        "此手机号已用于另一账户。请先用它登录那个账户并更换号码。",
        "Another account uses this number. Sign in to that account with it and change it there.",
    )
