"""Showing a licence (亮证): a signed token of a minute, good for one verification.

Needs the database and nothing else, so that a licence can be shown while other services are down.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import segno
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.clock import now
from kit.errors import Problem
from kit.ids import new_id
from kit.jose import BadToken
from kit.lookups import Reader
from kit.secrets import Vault
from kit.states import move

from . import faces, licences
from .keys import Signer
from .models import PRESENTATION, Licence, Presentation, sealed_at

AUDIENCE = "beam-verify"
TYPE = "presentation+jwt"
Refusal = Literal[
    "token_invalid",
    "expired",
    "already_used",
    "licence_suspended",
    "licence_revoked",
    "licence_replaced",
    "licence_expired",
    "licence_not_yet_valid",
]


class LicenceNotValid(Problem):
    status, code, title = 409, "licence_not_valid", ("证照不在有效状态", "The licence is not valid")


@dataclass(frozen=True)
class Shown:
    """A presentation that was just made. `token` exists only here: it is not stored."""

    row: Presentation
    token: str

    @property
    def qr_svg(self) -> str:
        qr = segno.make_qr(self.token, error="l")
        return str(qr.svg_inline(scale=4, border=4, title="亮证码"))


@dataclass(frozen=True)
class Verdict:
    """What a verifier learns. `face` is there when the licence was shown in due form."""

    refusal: Refusal | None
    licence: Licence | None = None
    face: faces.Face | None = None
    purpose: str | None = None


async def make(
    session: AsyncSession,
    lookups: Reader,
    vault: Vault,
    signer: Signer,
    *,
    holder_id: str,
    licence_id: str,
    purpose: str,
    seconds: int,
) -> Shown:
    """Show a licence for one purpose. Raises NotFound for a licence that is not the holder's,
    LicenceNotValid (409) for one that is not in force."""
    licence = await licences.of_holder(lookups, holder_id, licence_id)
    refusal = _refusal_of(licence)
    if refusal is not None:
        raise LicenceNotValid(
            "这张证照目前不能出示。请查看证照状态,或联系发证机关。",
            "This licence cannot be shown now. See its state, or ask the issuer.",
            reason=refusal,
        )
    issued_at = now()
    row = Presentation(
        id=new_id("pres"),
        version=1,
        state="ready",
        licence_id=licence.id,
        holder_id=licence.holder_id,
        region=licence.region,
        dept=licence.dept,
        expires_at=issued_at + timedelta(seconds=seconds),
        created_at=issued_at,
    )
    row.purpose = vault.seal(purpose, bound_to=sealed_at("presentation", "purpose", row.id))
    session.add(row)
    claims = {
        "iss": signer.issuer,
        "aud": AUDIENCE,
        "sub": row.id,
        "jti": row.id,
        "iat": int(issued_at.timestamp()),
        "exp": int(row.expires_at.timestamp()),
    }
    return Shown(row, signer.key.sign(claims, TYPE))


async def verify(session: AsyncSession, vault: Vault, signer: Signer, token: str) -> Verdict:
    """Accept a shown licence, once, or say why not. Of two verifiers at the same moment the
    second waits for the first and is refused."""
    try:
        claims = signer.keys.verify(token, issuer=signer.issuer, audience=AUDIENCE, typ=TYPE)
    except BadToken as bad:
        return Verdict("expired" if str(bad) == "ExpiredSignatureError" else "token_invalid")
    row = await session.get(Presentation, claims["jti"], with_for_update=True)
    if row is None:
        return Verdict("token_invalid")
    if row.state == "used":
        return Verdict("already_used")
    at = now()
    if row.state == "expired" or row.expires_at <= at:
        return Verdict("expired")
    licence = await session.get_one(Licence, row.licence_id, with_for_update={"read": True})
    refusal = _refusal_of(licence)
    if refusal is not None:
        return Verdict(refusal, licence)
    return _accept(session, vault, row, licence, at)


def _accept(
    session: AsyncSession, vault: Vault, row: Presentation, licence: Licence, at: datetime
) -> Verdict:
    row.used_at = at
    move(
        session,
        row,
        PRESENTATION,
        "use",
        presentation_id=row.id,
        licence_id=row.licence_id,
        holder_id=row.holder_id,
    )
    purpose = vault.open(row.purpose, bound_to=sealed_at("presentation", "purpose", row.id))
    return Verdict(None, licence, faces.face(vault, licence), purpose)


def _refusal_of(licence: Licence) -> Refusal | None:
    by_state: dict[str, Refusal] = {
        "suspended": "licence_suspended",
        "revoked": "licence_revoked",
        "replaced": "licence_replaced",
        "expired": "licence_expired",
    }
    if licence.state in by_state:
        return by_state[licence.state]
    day = licences.today()
    if licence.valid_until is not None and licence.valid_until < day:
        return "licence_expired"
    if licence.valid_from > day:
        return "licence_not_yet_valid"
    return None


async def expire_overdue(session: AsyncSession, *, limit: int = 500) -> int:
    """Close presentations that nobody verified in time. Returns how many those were."""
    rows = list(
        await session.scalars(
            select(Presentation)
            .where(Presentation.state == "ready", Presentation.expires_at <= now())
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )
    for row in rows:
        move(session, row, PRESENTATION, "expire")
    return len(rows)
