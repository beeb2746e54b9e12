"""The ways into one's account: seeing them, changing the password, and never losing the last one.

Whoever changes a way in must have signed in just now: a token alone, hours old or borrowed, does
not hand an account over. One acts for oneself here; a token that acts for somebody is refused.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.auth import Caller
from kit.clock import now
from kit.errors import Forbidden, NotFound, Problem
from kit.secrets import Vault, mask_phone

from .. import accounts, attempts, logins, tokens
from ..logins import Doorman
from ..models import Account, LoginSession, RefreshFamily
from ..models_sign_in import Passkey, WeChatBinding

FRESH = timedelta(minutes=10)


class SignInAgain(Problem):
    status, code, title = 401, "sign_in_again", ("请重新登录", "Sign in again")


class LastWay(Problem):
    status, code, title = 409, "last_way", ("这是最后一种登录方式", "The last way to sign in")


class WrongPassword(Problem):
    status, code, title = 422, "wrong_password", ("密码不对", "The password is not right")


async def fresh(session: AsyncSession, caller: Caller, *, for_firm: bool = False) -> LoginSession:
    """The sign-in of the caller, not ten minutes old; with `for_firm` also that of a person who
    acts for a firm. Raises SignInAgain (RFC 9470: send the person through the authorization
    endpoint with `max_age`), Forbidden for who acts for somebody else."""
    for_firm = for_firm and caller.kind == "enterprise" and caller.mandate is None
    if caller.actors and not (for_firm and caller.actors == (caller.agent,)):
        raise Forbidden(
            "此操作须由本人进行,不能由他人代办。",
            "Only the person himself does this, nobody who acts for him.",
        )
    person = caller.agent or caller.subject
    family = tokens.family_of({"jti": caller.jti})
    query = (
        select(LoginSession)
        .join(RefreshFamily, RefreshFamily.session_id == LoginSession.id)
        .where(
            RefreshFamily.id == family,
            RefreshFamily.state == "active",
            LoginSession.account_id == person,
            LoginSession.ended_at.is_(None),
            LoginSession.auth_time > now() - FRESH,
        )
    )
    login = await session.scalar(query) if family else None
    if login is None:
        seconds = int(FRESH.total_seconds())
        raise SignInAgain(
            "为保护您的账户,请重新登录后再进行此操作。",
            "To protect your account, sign in once more before you do this.",
            headers={
                "www-authenticate": 'Bearer error="insufficient_user_authentication", '
                f"max_age={seconds}"
            },
        )
    return login


async def own(session: AsyncSession, account_id: str, *, lock: bool = False) -> Account:
    """The caller's account. Raises NotFound."""
    account = await session.get(Account, account_id, with_for_update=lock)
    if account is None:
        raise NotFound("没有找到这个账户。", "There is no such account.")
    return account


def _way(
    way: str,
    *,
    id: str | None = None,
    hint: str | None = None,
    added_at: datetime | None = None,
    used_at: datetime | None = None,
) -> dict[str, Any]:
    return {"way": way, "id": id, "hint": hint, "added_at": added_at, "used_at": used_at}


async def of_account(session: AsyncSession, vault: Vault, account_id: str) -> list[dict[str, Any]]:
    """The ways into an account, masked. Raises NotFound."""
    account = await own(session, account_id)
    found = []
    if account.password_hash is not None:
        found.append(_way("password"))
    phone = accounts.phone_of(vault, account)
    if phone is not None and account.level >= "L1":
        found.append(_way("phone_code", hint=mask_phone(phone)))
    binding = await session.scalar(
        select(WeChatBinding).where(WeChatBinding.account_id == account_id)
    )
    if binding is not None:
        found.append(_way("wechat", added_at=binding.added_at, used_at=binding.used_at))
    mine = select(Passkey).where(Passkey.account_id == account_id).order_by(Passkey.id)
    for key in await session.scalars(mine):
        name = vault.open(key.name, bound_to=f"passkey|name|{key.id}")
        found.append(
            _way("passkey", id=key.id, hint=name, added_at=key.added_at, used_at=key.used_at)
        )
    return found


async def spare(session: AsyncSession, account_id: str) -> None:
    """Make sure that one way more than one is left. Raises LastWay. The account is locked, so
    that two removals at once cannot take the last two."""
    account = await own(session, account_id, lock=True)
    bound = await session.scalar(select(func.count()).where(WeChatBinding.account_id == account_id))
    keys = await session.scalar(select(func.count()).where(Passkey.account_id == account_id))
    ways = (bound or 0) + (keys or 0) + (account.password_hash is not None)
    ways += account.phone is not None and account.level >= "L1"
    if ways < 2:
        raise LastWay(
            "请先设置密码、核验手机号或添加另一种登录方式,再移除它。",
            "Set a password, prove a number or add another way first; then remove this one.",
        )


async def change_password(at: Doorman, caller: Caller, *, current: str | None, new: str) -> None:
    """Set a new password; all other sign-ins end. Raises WrongPassword when there is one already
    and `current` is not it (tries are counted), and as `fresh`."""
    name = at.vault.index(f"own password|{caller.subject}")
    async with at.sessions.begin() as session:
        login = await fresh(session, caller)
        limit, minutes = at.settings.tries_per_account, at.settings.tries_minutes
        await attempts.take(session, name, limit=limit, now=now(), minutes=minutes)
        stored = (await own(session, caller.subject)).password_hash
    if stored is not None and not await at.passwords.matches(stored, current or ""):
        raise WrongPassword(
            "现在的密码不对。忘记密码时,可以在登录页用短信验证码重设。",
            "That is not the present password. If you forgot it, set a new one by a code on the "
            "sign-in page.",
        )
    hashed = await at.passwords.hash(new)
    async with at.sessions.begin() as session:
        account = await own(session, caller.subject, lock=True)
        if account.password_hash != stored:
            raise WrongPassword(
                "密码刚刚在别处被更改,请重新登录。",
                "The password has just been changed elsewhere; sign in again.",
            )
        account.password_hash = hashed
        account.version += 1
        await logins.end_all(session, account.id, "password_changed", but=login.id)
        await attempts.give_back(session, forget=name, one_of="")
