"""The key pairs of this service: made once, shared by all its processes through the database."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.jose import KeySet, SigningKey
from kit.secrets import Vault

from .models import IssuerKey, sealed_at

_LOCK = 0x6C6963  # one process makes the first key, the others wait and read it


@dataclass(frozen=True)
class Signer:
    """Signs with the newest key, verifies with all of them. `issuer` is the beam's address."""

    key: SigningKey
    keys: KeySet
    jwks: dict[str, Any]
    issuer: str


async def load(session: AsyncSession, vault: Vault, issuer: str) -> Signer:
    """The keys from the database; the first process ever makes one. Raises SealBroken when the
    field encryption key is not the one that sealed them."""
    await session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    rows = list(await session.scalars(select(IssuerKey).order_by(IssuerKey.ordinal.desc())))
    if not rows:
        pem = SigningKey.generate()
        fresh = SigningKey(pem)
        row = IssuerKey(
            kid=fresh.kid,
            public_jwk=fresh.public_jwk,
            private_sealed=vault.seal(
                pem.decode(), bound_to=sealed_at("issuer_key", "private_sealed", fresh.kid)
            ),
        )
        session.add(row)
        await session.flush()
        rows = [row]
    newest = rows[0]
    pem = vault.open(
        newest.private_sealed, bound_to=sealed_at("issuer_key", "private_sealed", newest.kid)
    ).encode()
    jwks = {"keys": [row.public_jwk for row in rows]}
    return Signer(SigningKey(pem), KeySet(jwks), jwks, issuer)
