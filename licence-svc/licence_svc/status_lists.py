"""Token status lists: what is no longer good, for verifiers that are offline most of the time.

Two bits a licence: 0 valid, 1 invalid, 2 suspended. A list is signed for a day; a verifier should
fetch it again after `ttl` seconds.
"""

import base64
import time
import zlib

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kit import crash
from kit.errors import NotFound

from .keys import Signer
from .models import Licence

SIZE = 1 << 16
BITS = 2
TYPE = "statuslist+jwt"
TTL_SECONDS = 300
LIFE_SECONDS = 24 * 3600
VALUES = {"active": 0, "suspended": 2}
INVALID = 1


def place(issuer: str, ordinal: int) -> dict[str, str | int]:
    """Where a credential says its status stands."""
    return {"idx": ordinal % SIZE, "uri": _address(issuer, ordinal // SIZE)}


def _address(issuer: str, n: int) -> str:
    return f"{issuer}/v1/status-lists/{n}"


async def build(session: AsyncSession, signer: Signer, n: int) -> str:
    """List `n` as a signed token, as things stand now. Raises NotFound beyond the last list."""
    newest = await session.scalar(select(func.max(Licence.ordinal))) or 0
    if not 0 <= n <= newest // SIZE:
        raise NotFound("没有这份状态表。", "There is no such status list.")
    bits = bytearray(SIZE * BITS // 8)
    changed = await session.execute(
        select(Licence.ordinal, Licence.state).where(
            Licence.state != "active",
            Licence.ordinal >= n * SIZE,
            Licence.ordinal < (n + 1) * SIZE,
        )
    )
    for ordinal, state in () if crash.planted("revocation_unlisted") else changed:
        position = ordinal % SIZE * BITS
        bits[position // 8] |= VALUES.get(state, INVALID) << position % 8
    packed = base64.urlsafe_b64encode(zlib.compress(bits, 9)).rstrip(b"=").decode()
    issued_at = int(time.time())
    claims = {
        "iss": signer.issuer,
        "sub": _address(signer.issuer, n),
        "iat": issued_at,
        "exp": issued_at + LIFE_SECONDS,
        "ttl": TTL_SECONDS,
        "status_list": {"bits": BITS, "lst": packed},
    }
    return signer.key.sign(claims, TYPE)
