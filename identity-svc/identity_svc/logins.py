"""Sign-ins, and the one with a password: tries are counted first, the work is the same for all.

Three short steps, so that no database connection waits for argon2: count the try and read the
account; compare the password; open the session.
"""

import asyncio
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from weakref import WeakValueDictionary

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from kit.clock import now
from kit.db import Sessions
from kit.errors import Problem
from kit.ids import new_id
from kit.secrets import Vault

from . import attempts, families, identifiers
from .models import Account, LoginSession, StaffMember
from .passwords import Passwords
from .settings import Settings
from .tokens import digest


class WrongLogin(Problem):
    status, code, title = 401, "wrong_login", ("登录没有成功", "The sign-in did not succeed")


@dataclass(frozen=True)
class Doorman:
    """What signing in needs."""

    sessions: Sessions
    vault: Vault
    passwords: Passwords
    settings: Settings
    turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def turn(self, name: str) -> asyncio.Lock:
        """One try at a time for each name: those who wait are not counted yet, so that many
        right ones at once do not lock the account."""
        return self.turns.setdefault(name, asyncio.Lock())


async def sign_in(at: Doorman, *, login: str, password: str, address: str) -> str:
    """Open a session for whoever has this phone or staff number and password; the cookie's value.

    Raises WrongLogin, alike for an unknown name, a wrong password and a suspended account, and
    TooMany after too many tries for the name or from the address.
    """
    by_name = at.vault.index(f"try|{login.strip()}")
    turn = at.turn(by_name)
    async with turn:
        return await _sign_in(at, login, password, by_name, at.vault.index(f"address|{address}"))


async def _sign_in(at: Doorman, login: str, password: str, by_name: str, by_address: str) -> str:
    settings, moment = at.settings, now()
    async with at.sessions.begin() as session:
        for key, limit in (
            (by_name, settings.tries_per_account),
            (by_address, settings.tries_per_address),
        ):
            await attempts.take(
                session, key, limit=limit, now=moment, minutes=settings.tries_minutes
            )
        account = await _find(session, at.vault, login)
    stored = account.password_hash if account is not None else None
    right = await at.passwords.matches(stored, password)
    if account is None or not right or account.state != "active":
        raise WrongLogin(
            "请检查手机号(或工号)和密码,然后重新输入。",
            "Check the phone or staff number and the password, then try again.",
        )
    async with at.sessions.begin() as session:
        await attempts.give_back(session, forget=by_name, one_of=by_address)
        return begin(session, account, settings, amr=["pwd"])


def begin(session: AsyncSession, account: Account, settings: Settings, *, amr: list[str]) -> str:
    """Open a session for an account that proved itself; the cookie's value. `amr`: how it did
    (RFC 8176; `wechat` for what that lists no name for)."""
    login, cookie = opened(account, settings, amr=amr)
    session.add(login)
    return cookie


def opened(account: Account, settings: Settings, *, amr: list[str]) -> tuple[LoginSession, str]:
    """A new session and its cookie's value, to be added."""
    cookie = secrets.token_urlsafe(32)
    login = LoginSession(
        id=new_id("ses"),
        token_hash=digest(cookie),
        account_id=account.id,
        acr=account.level,
        amr=amr,
        auth_time=now(),
        expires_at=now() + timedelta(hours=settings.session_hours),
    )
    return login, cookie


async def _find(session: AsyncSession, vault: Vault, login: str) -> Account | None:
    try:
        phone = vault.index(f"phone|{identifiers.phone(login)}")
    except identifiers.Unfit:
        phone = ""
    number = select(StaffMember.account_id).where(StaffMember.number == login.strip().lower())
    query = select(Account).where(
        (Account.phone_index == phone) | Account.id.in_(number.scalar_subquery())
    )
    found: Account | None = await session.scalar(query.limit(1))
    return found


async def current(session: AsyncSession, cookie: str | None) -> LoginSession | None:
    """The sign-in that a cookie stands for, if it still stands."""
    if not cookie:
        return None
    found: LoginSession | None = await session.scalar(
        select(LoginSession)
        .join(Account, Account.id == LoginSession.account_id)
        .where(
            LoginSession.token_hash == digest(cookie),
            LoginSession.ended_at.is_(None),
            LoginSession.expires_at > now(),
            Account.state == "active",
        )
    )
    return found


async def sign_out(session: AsyncSession, login: LoginSession) -> None:
    """End the sign-in and everything that was issued for it."""
    await session.execute(
        update(LoginSession).where(LoginSession.id == login.id).values(ended_at=now())
    )
    await families.revoke_of_session(session, login.id, "signed_out")


async def end_all(
    session: AsyncSession, account_id: str, reason: str, *, but: str | None = None
) -> None:
    """End all sign-ins of an account and everything that was issued for them; the sign-in `but`
    goes on."""
    query = update(LoginSession).where(
        LoginSession.account_id == account_id, LoginSession.ended_at.is_(None)
    )
    if but is not None:
        query = query.where(LoginSession.id != but)
    await session.execute(query.values(ended_at=now()))
    await families.revoke_of_account(session, account_id, reason, but=but)
