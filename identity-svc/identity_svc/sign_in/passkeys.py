"""Passkeys (WebAuthn Level 3): adding one to an account, and signing in with one.

Discoverable credentials with the person verified on the device, no attestation. A challenge says
by itself what it is for, for whom and until when: it is sealed, and remembered once it was used.
"""

import ipaddress
import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from fido2 import cbor
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.utils import websafe_encode
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorData,
    PublicKeyCredentialRpEntity,
    RegistrationResponse,
)
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from kit.clock import now
from kit.errors import Conflict, NotFound, Problem
from kit.ids import new_id
from kit.secrets import SealBroken, Vault

from .. import attempts, logins, proofs
from ..logins import Doorman
from ..models import Account
from ..models_sign_in import Passkey
from . import ways

log = logging.getLogger(__name__)
LIFE = timedelta(minutes=5)
MOST = 20
ALGORITHMS = (-7, -8, -257)
"""ES256, Ed25519, RS256 (what Windows Hello has)."""

STUMBLES = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    OverflowError,
    RecursionError,
    struct.error,
    UnsupportedAlgorithm,
    InvalidSignature,
)


class PasskeyRefused(Problem):
    status, code, title = (
        422,
        "passkey_refused",
        ("通行密钥没有通过", "The passkey was not accepted"),
    )


@dataclass(frozen=True)
class Place:
    """Where passkeys are good: our origin, and its host as the relying party."""

    origin: str
    host: str

    @classmethod
    def of(cls, issuer: str) -> "Place":
        parts = urlsplit(issuer)
        return cls(f"{parts.scheme}://{parts.netloc}", parts.hostname or "")

    @property
    def offered(self) -> bool:
        """Browsers know no passkeys for a bare address."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    def server(self) -> Fido2Server:
        entity = PublicKeyCredentialRpEntity(id=self.host, name="一网通办")
        return Fido2Server(entity, verify_origin=lambda origin: origin == self.origin)


def challenge(vault: Vault, purpose: str, subject: str) -> str:
    """A challenge for one purpose and one subject (an account, or a browser), base64url."""
    until = int((now() + LIFE).timestamp())
    blob = until.to_bytes(8, "big") + os.urandom(16)
    return websafe_encode(vault.seal_bytes(blob, bound_to=f"passkey|{purpose}|{subject}"))


async def _spend(
    session: AsyncSession, vault: Vault, sent: bytes, purpose: str, subject: str
) -> dict[str, Any]:
    """Use a challenge up; the state that the ceremony's check wants. Raises PasskeyRefused."""
    try:
        blob = vault.open_bytes(sent, bound_to=f"passkey|{purpose}|{subject}")
    except SealBroken:
        raise _refused() from None
    until = datetime.fromtimestamp(int.from_bytes(blob[:8], "big"), UTC)
    name = f"passkey|{websafe_encode(sent)}"
    if until < now() or not await session.run_sync(lambda s: proofs.once(s, name, until)):
        raise _refused()
    return {"challenge": websafe_encode(sent), "user_verification": "required"}


def handle(vault: Vault, account_id: str) -> bytes:
    """How an account is called on the device: it tells nothing."""
    return bytes.fromhex(vault.index(f"passkey user|{account_id}"))


async def options(
    session: AsyncSession, vault: Vault, place: Place, account_id: str, shown: str
) -> dict[str, Any]:
    """What `navigator.credentials.create` is to be given, binary values as base64url. `shown`:
    what the device shows of the account, masked."""
    query = select(Passkey.credential_id).where(Passkey.account_id == account_id)
    known = await session.scalars(query)
    return {
        "rp": {"id": place.host, "name": "一网通办"},
        "user": {
            "id": websafe_encode(handle(vault, account_id)),
            "name": shown,
            "displayName": shown,
        },
        "challenge": challenge(vault, "add", account_id),
        "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in ALGORITHMS],
        "timeout": int(LIFE.total_seconds() * 1000),
        "excludeCredentials": [{"type": "public-key", "id": websafe_encode(c)} for c in known],
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "attestation": "none",
    }


async def add(
    session: AsyncSession,
    vault: Vault,
    place: Place,
    account_id: str,
    *,
    credential: dict[str, Any],
    name: str,
) -> Passkey:
    """Add a passkey to an account, as the device made it. Raises PasskeyRefused, Conflict."""
    await ways.own(session, account_id, lock=True)
    with _strict():
        sent = RegistrationResponse.from_dict(credential)
        spent = sent.response.client_data.challenge
    state = await _spend(session, vault, spent, "add", account_id)
    with _strict():
        found = place.server().register_complete(state, sent)
        made = found.credential_data
        if made is None or made.public_key.get(3) not in ALGORITHMS:
            raise ValueError("an algorithm that was not asked for")
    mine = Passkey.account_id == account_id
    if (await session.scalar(select(func.count()).where(mine)) or 0) >= MOST:
        raise Conflict(
            "通行密钥太多了。请先移除不用的。", "There are too many passkeys. Remove one first."
        )
    passkey_id = new_id("pky")
    row = Passkey(
        id=passkey_id,
        account_id=account_id,
        credential_id=made.credential_id,
        public_key=cbor.encode(dict(made.public_key)),
        sign_count=found.counter,
        name=vault.seal(name, bound_to=f"passkey|name|{passkey_id}"),
        device_bound=not found.flags & AuthenticatorData.FLAG.BE,
        added_at=now(),
    )
    session.add(row)
    try:
        await session.flush()
    except IntegrityError:
        raise Conflict("这个通行密钥已经登记过。", "This passkey is registered already.") from None
    return row


def name_of(vault: Vault, passkey: Passkey) -> str:
    """What its owner calls it."""
    return vault.open(passkey.name, bound_to=f"passkey|name|{passkey.id}")


async def remove(session: AsyncSession, account_id: str, passkey_id: str) -> None:
    """Remove a passkey of the account. Raises NotFound, also for somebody else's, and LastWay."""
    mine = (Passkey.id == passkey_id, Passkey.account_id == account_id)
    if await session.scalar(select(Passkey.id).where(*mine)) is None:
        raise NotFound("没有找到这个通行密钥。", "There is no such passkey.")
    await ways.spare(session, account_id)
    await session.execute(delete(Passkey).where(*mine))


async def sign_in(
    at: Doorman, place: Place, *, credential: dict[str, Any], browser: str, address: str
) -> str:
    """Open a session for whoever holds the passkey; the cookie's value. `browser`: whom the
    challenge was made for. Raises PasskeyRefused, for whatever reason, and TooMany."""
    by_address = at.vault.index(f"address|{address}")
    async with at.sessions.begin() as session:
        limit, minutes = at.settings.tries_per_address, at.settings.tries_minutes
        await attempts.take(session, by_address, limit=limit, now=now(), minutes=minutes)
    async with at.sessions.begin() as session:
        cookie = await _checked(session, at, place, credential, browser)
        await attempts.give_back(session, forget="", one_of=by_address)
    return cookie


async def _checked(
    session: AsyncSession, at: Doorman, place: Place, credential: dict[str, Any], browser: str
) -> str:
    with _strict():
        sent = AuthenticationResponse.from_dict(credential)
        response = sent.response
        spent, whose = response.client_data.challenge, response.user_handle
    state = await _spend(session, at.vault, spent, "sign_in", browser)
    query = select(Passkey).where(Passkey.credential_id == sent.raw_id).with_for_update()
    passkey = await session.scalar(query)
    if passkey is None:
        raise _refused()
    with _strict():
        key = CoseKey.parse(cast(dict[int, Any], cbor.decode(passkey.public_key)))
        known = AttestedCredentialData.create(bytes(16), passkey.credential_id, key)
        place.server().authenticate_complete(state, [known], sent)
    account = await session.get_one(Account, passkey.account_id)
    if whose is not None and whose != handle(at.vault, account.id):
        raise _refused()
    if account.state != "active":
        raise _refused()
    counter = response.authenticator_data.counter
    if (counter or passkey.sign_count) and counter <= passkey.sign_count:
        # WebAuthn 6.1.1: there may be a copy of the key. Its owner can remove it and add another.
        log.warning("a passkey's counter went back", extra={"fields": {"passkey": passkey.id}})
        raise _refused()
    passkey.sign_count, passkey.used_at = counter, now()
    amr = ["hwk" if passkey.device_bound else "swk", "user", "mfa"]
    return logins.begin(session, account, at.settings, amr=amr)


@contextmanager
def _strict() -> Iterator[None]:
    """Whatever a hostile or broken device sends is refused, wherever the parser stumbles."""
    try:
        yield
    except STUMBLES as exc:
        log.info("a passkey was refused: %s", type(exc).__name__)
        raise _refused() from None


def _refused() -> PasskeyRefused:
    return PasskeyRefused(
        "通行密钥没有通过核验。请重试,或用其他方式登录。",
        "The passkey was not accepted. Try again, or sign in another way.",
    )
