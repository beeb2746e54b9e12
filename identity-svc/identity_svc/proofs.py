"""Proofs of possession at our own endpoints (RFC 9449), and what must come once only.

The services remember proofs in memory; here all processes share a table, since a code or refresh
token is worth more than one request.
"""

from datetime import datetime, timedelta
from typing import Any

from authlib.oauth2.rfc6749 import OAuth2Error
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from kit import dpop
from kit.clock import now
from kit.jose import BadToken

from . import tokens
from .models import Client, SeenOnce

REMEMBERED = timedelta(seconds=dpop.OLDEST_SECONDS + dpop.AHEAD_SECONDS)


class InvalidProof(OAuth2Error):  # type: ignore[misc]
    error = "invalid_dpop_proof"


def once(session: Session, name: str, until: datetime) -> bool:
    """True the first time that `name` comes; it is remembered until `until`."""
    row = insert(SeenOnce).values(key=tokens.digest(name), expires_at=until)
    made = session.scalar(row.on_conflict_do_nothing().returning(SeenOnce.key))
    return made is not None


def read(here: tokens.Round, request: Any, path: str) -> str | None:
    """The thumbprint of the key that this POST was proven with; None without a proof.
    Raises InvalidProof."""
    proof = request.headers.get("DPoP")
    if proof is None:
        return None
    try:
        address = here.settings.issuer + path
        jkt, name = dpop.check(proof, method="POST", address=address)
    except BadToken:
        raise InvalidProof from None
    if not once(here.session, f"proof|{name}", now() + REMEMBERED):
        raise InvalidProof
    return jkt


def demand(here: tokens.Round, client: Client) -> None:
    """Raises InvalidProof when the client's tokens must be bound and it proved no key."""
    if client.bound and here.jkt is None:
        raise InvalidProof
