"""Signing in from the WeChat mini-program.

WeChat says who its user is; which account that is, a binding says. It is made the first time, by
a number that WeChat vouches for and an account has proven, or by somebody who is signed in. What
comes out is an authorization code: tokens, PKCE, DPoP and refreshing are those of every app.
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from kit.clock import now
from kit.errors import Conflict, Invalid, NotFound, Problem, Unavailable
from kit.secrets import Vault

from .. import accounts, identifiers, levels, logins, tokens
from ..clients import MINI_PROGRAM
from ..models import Account, AuthorizationCode, Client
from ..models_sign_in import WeChatBinding
from ..providers import CodeRefused, MiniProgram, NoAnswer
from ..settings import Settings
from . import ways
from .phones import proven_owner


class WeChatRefused(Problem):
    status, code, title = 422, "wechat_code_refused", ("微信没有确认", "WeChat did not confirm")


class NotBound(Problem):
    status, code, title = 409, "wechat_not_bound", ("微信还没有绑定", "No account is bound yet")


class AccountNeeded(Problem):
    status, code, title = 409, "account_needed", ("还没有账户", "There is no account yet")


@dataclass(frozen=True)
class User:
    """What WeChat said: its user, as a keyed hash, and the number that it vouches for."""

    index: str
    phone: str | None


@dataclass(frozen=True)
class Newcomer:
    """Who wants an account with the number that WeChat vouches for."""

    name: str
    id_number: str


async def ask(
    mini_program: MiniProgram | None, vault: Vault, code: str, phone_code: str | None = None
) -> User:
    """Ask WeChat. Raises WeChatRefused, or Unavailable when it does not answer."""
    if mini_program is None:
        raise _no_answer()
    try:
        name = await mini_program.user(code)
        phone = await mini_program.phone(phone_code) if phone_code else None
        number = identifiers.phone(phone) if phone is not None else None
    except NoAnswer:
        raise _no_answer() from None
    except (CodeRefused, identifiers.Unfit):
        raise _refused() from None
    # The index ignores case, an openid does not.
    return User(vault.index(f"wechat|{name.encode().hex()}"), number)


async def client(session: AsyncSession, client_id: str, scope: str) -> tuple[Client, str]:
    """The client that may ask for a code by WeChat, and the scope that it gets. Raises Invalid."""
    found = await session.get(Client, client_id)
    if found is None or not found.active or not found.check_grant_type(MINI_PROGRAM):
        raise _unfit(
            "client_id",
            "此应用没有登记为微信小程序。请检查 client_id。",
            "This client is not registered as a mini-program. Check client_id.",
        )
    granted = found.get_allowed_scope(scope)
    if set(scope.split()) - set(granted.split()):
        raise _unfit(
            "scope",
            "scope 超出此应用的权限。请减少后重试。",
            "The scope is more than this client may have. Ask for less.",
        )
    return found, granted


async def enter(
    session: AsyncSession, vault: Vault, user: User, *, newcomer: Newcomer | None
) -> Account:
    """The account of this WeChat user, bound now when it was not. Raises NotBound without a
    number, AccountNeeded when no account has proven it and nobody registers, Conflict when the
    account is bound to another WeChat user, WrongLogin when it is suspended."""
    account = await _bound_to(session, user)
    if account is None:
        account = await _by_phone(session, vault, user.phone, newcomer)
    binding = await _bind(session, account.id, user)
    if account.state != "active":
        raise logins.WrongLogin(
            "此账户暂时不能登录。请联系政务服务热线。",
            "This account cannot be signed in to at the moment. Please call the service line.",
        )
    binding.used_at = now()
    return account


async def _bound_to(session: AsyncSession, user: User) -> Account | None:
    """The account, locked before the binding is looked at for good: everybody locks in this
    order."""
    of_user = WeChatBinding.user_index == user.index
    account_id = await session.scalar(select(WeChatBinding.account_id).where(of_user))
    if account_id is None:
        return None
    account = await ways.own(session, account_id, lock=True)
    still = await session.scalar(select(WeChatBinding.account_id).where(of_user))
    return account if still == account_id else None


async def _by_phone(
    session: AsyncSession, vault: Vault, phone: str | None, newcomer: Newcomer | None
) -> Account:
    if phone is None:
        raise NotBound(
            "请让用户授权手机号,然后带上 phone_code 和新的 code 再来。",
            "Ask the user for the number (getRealtimePhoneNumber), then come again with "
            "phone_code and a new code.",
        )
    account = await proven_owner(session, vault, phone)
    if account is not None:
        return account
    if newcomer is None:
        raise AccountNeeded(
            "此手机号还没有账户。请让用户填写姓名和身份证号码,作为 newcomer 带上新的 code 再来。",
            "No account has this number. Ask for name and identity number, and come again with "
            "them as newcomer and with new codes.",
        )
    await accounts.free_phone(session, vault, phone)
    made = await accounts.register(
        session,
        vault,
        name=newcomer.name,
        id_number=newcomer.id_number,
        phone=phone,
        password_hash=None,
    )
    if not made:
        raise _refused()
    return await levels.registered_with_phone(session, vault, phone)


async def bind(session: AsyncSession, account_id: str, user: User) -> None:
    """Let this WeChat user into the account from now on; binding again changes nothing. Raises
    Conflict when either is bound otherwise."""
    known = await session.get(WeChatBinding, user.index)
    if known is not None and known.account_id != account_id:
        raise _elsewhere()
    await _bind(session, account_id, user)


async def _bind(session: AsyncSession, account_id: str, user: User) -> WeChatBinding:
    await ways.own(session, account_id, lock=True)
    query = select(WeChatBinding).where(WeChatBinding.account_id == account_id)
    known: WeChatBinding | None = await session.scalar(query)
    if known is not None:
        if known.user_index != user.index:
            raise _bound("此账户已绑定另一微信。", "The account is bound to another WeChat user.")
        return known
    made = WeChatBinding(user_index=user.index, account_id=account_id, added_at=now())
    session.add(made)
    try:
        await session.flush()
    except IntegrityError:
        raise _elsewhere() from None
    return made


async def unbind(session: AsyncSession, account_id: str) -> None:
    """Let no WeChat user into the account. Raises NotFound, and LastWay."""
    query = select(WeChatBinding.user_index).where(WeChatBinding.account_id == account_id)
    if await session.scalar(query) is None:
        raise NotFound("没有绑定微信。", "No WeChat user is bound.")
    await ways.spare(session, account_id)
    await session.execute(delete(WeChatBinding).where(WeChatBinding.account_id == account_id))


async def issue_code(
    session: AsyncSession,
    settings: Settings,
    account: Account,
    client: Client,
    *,
    scope: str,
    challenge: str,
    nonce: str | None,
    jkt: str | None,
) -> str:
    """An authorization code for a new sign-in of this account, for the token endpoint: without
    redirect address, bound to the PKCE challenge (S256) and, where it came, to a key."""
    login, _ = logins.opened(account, settings, amr=["wechat"])
    session.add(login)
    await session.flush()
    code = secrets.token_urlsafe(32)
    session.add(
        AuthorizationCode(
            code_hash=tokens.digest(code),
            client_id=client.client_id,
            session_id=login.id,
            redirect_uri="",
            scope=scope,
            nonce=nonce,
            jkt=jkt,
            code_challenge=challenge,
            code_challenge_method="S256",
            expires_at=now() + timedelta(seconds=settings.code_seconds),
        )
    )
    return code


def _refused() -> WeChatRefused:
    return WeChatRefused(
        "微信没有确认此次登录。请重新调用 wx.login 再试。",
        "WeChat did not confirm this sign-in. Call wx.login again.",
    )


def _bound(zh: str, en: str) -> Conflict:
    more = ("请先在原处解除绑定。", " Undo that binding first.")
    return Conflict(zh + more[0], en + more[1])


def _elsewhere() -> Conflict:
    return _bound("此微信已绑定另一账户。", "This WeChat user is bound to another account.")


def _no_answer() -> Unavailable:
    return Unavailable(
        "暂时无法通过微信登录。请稍后再试,或用手机号登录。",
        "WeChat cannot be asked at the moment. Try again later, or sign in with the number.",
        retry_after=5,
    )


def _unfit(field: str, zh: str, en: str) -> Invalid:
    place = {"pointer": f"/body/{field}", "code": "unfit", "message": zh, "message_en": en}
    return Invalid(zh, en, errors=[place])
