"""Signing in, registering and setting a new password with a code from one's telephone.

A number is a way to sign in once it was proven (level L1). Who proves a number that an account
only claims does not get that account: whoever registered it knows its password.
"""

import base64
import binascii
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.clock import now
from kit.secrets import SealBroken, Vault

from .. import accounts, attempts, levels, logins, phone_codes
from ..logins import Doorman
from ..models import Account

PROVEN_FOR = timedelta(minutes=15)
"""How long a proven number may wait for the rest of a registration."""


async def enter(at: Doorman, *, phone: str, code_id: str, code: str, address: str) -> str | None:
    """Open a session for the account that has proven this number; the cookie's value. None when
    the code is right and there is no such account.

    Raises WrongCode, also for a suspended account, and TooMany; tries are counted first."""
    return await _with_code(at, phone, code_id, code, "sign_in", address)


async def reset_password(
    at: Doorman, *, phone: str, code_id: str, code: str, password: str, address: str
) -> bool:
    """Give the account that has proven this number a new password and end all its sign-ins; False
    when the code is right and there is no such account. Raises as `enter`."""
    hashed = await at.passwords.hash(password)
    done = await _with_code(at, phone, code_id, code, "reset", address, new_hash=hashed)
    return done is not None


async def _with_code(
    at: Doorman,
    phone: str,
    code_id: str,
    code: str,
    purpose: phone_codes.Purpose,
    address: str,
    *,
    new_hash: str | None = None,
) -> str | None:
    by_phone = at.vault.index(f"code|{phone}")
    by_address = at.vault.index(f"address|{address}")
    async with at.sessions.begin() as session:
        for key, limit in (
            (by_phone, at.settings.tries_per_account),
            (by_address, at.settings.tries_per_address),
        ):
            minutes = at.settings.tries_minutes
            await attempts.take(session, key, limit=limit, now=now(), minutes=minutes)
    outcome: str | None = None
    async with at.sessions.begin() as session:
        right = await phone_codes.use(
            session, at.vault, code_id=code_id, code=code, phone=phone, purpose=purpose
        )
        account = await proven_owner(session, at.vault, phone) if right else None
        if account is not None and account.state != "active":
            right = False
        elif account is not None and new_hash is not None:
            account.password_hash = new_hash
            account.version += 1
            await logins.end_all(session, account.id, "password_reset")
            outcome = account.id
        elif account is not None:
            outcome = logins.begin(session, account, at.settings, amr=["sms"])
        if right:
            await attempts.give_back(session, forget=by_phone, one_of=by_address)
    if not right:
        raise phone_codes.wrong_code()
    return outcome


async def proven_owner(session: AsyncSession, vault: Vault, phone: str) -> Account | None:
    """The account that has proven this number, locked."""
    query = select(Account).where(
        Account.phone_index == vault.index(f"phone|{phone}"), Account.level >= "L1"
    )
    found: Account | None = await session.scalar(query.with_for_update())
    return found


async def register(
    at: Doorman,
    *,
    phone: str,
    proven: bool,
    name: str,
    id_number: str,
    password: str | None,
    address: str,
) -> str | None:
    """Register a person. With a proven number the account starts at L1 and is signed in: the
    cookie's value. None: without a proof, or when the number has an account already."""
    hashed = await at.passwords.hash(password) if password else None
    async with at.sessions.begin() as session:
        await attempts.take(
            session,
            at.vault.index(f"registrations|{address}"),
            limit=at.settings.registrations_per_address,
            now=now(),
            minutes=at.settings.tries_minutes,
        )
    async with at.sessions.begin() as session:
        if proven:
            await accounts.free_phone(session, at.vault, phone)
        made = await accounts.register(
            session,
            at.vault,
            name=name,
            id_number=id_number,
            phone=phone,
            password_hash=hashed,
        )
        if not made or not proven:
            return None
        account = await levels.registered_with_phone(session, at.vault, phone)
        return logins.begin(session, account, at.settings, amr=["sms"])


def ticket(vault: Vault, phone: str, browser: str) -> str:
    """What a browser holds between proving a number and registering with it: sealed, of use to
    this browser alone, for a quarter of an hour."""
    until = int((now() + PROVEN_FOR).timestamp())
    sealed = vault.seal(f"{until}|{phone}", bound_to=f"proven phone||{browser}")
    return base64.urlsafe_b64encode(sealed).decode()


def read_ticket(vault: Vault, text: str, browser: str) -> str | None:
    """The number behind a ticket; None when it is too old or not this browser's."""
    try:
        sealed = base64.urlsafe_b64decode(text.encode())
        until, _, phone = vault.open(sealed, bound_to=f"proven phone||{browser}").partition("|")
    except (binascii.Error, ValueError, SealBroken):
        return None
    return phone if int(until) > now().timestamp() else None
