"""Pushed authorization requests (RFC 9126): the request comes straight from the client, the
browser carries only a reference to it."""

import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from authlib.oauth2.rfc6749 import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from .models import PushedRequest
from .tokens import digest

PREFIX = "urn:ietf:params:oauth:request_uri:"
SECRET = frozenset({"client_secret", "client_assertion", "client_assertion_type"})
LIFE = timedelta(seconds=590)
"""Long enough to sign in and to be sent a code; FAPI 2.0 asks for less than 600 s."""
REFERENCE = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{43}")


def keep(session: Session, client_id: str, fields: Mapping[str, str], now: datetime) -> str:
    """Keep the request, without what proved the client; the reference for the browser."""
    uri = PREFIX + secrets.token_urlsafe(32)
    session.add(
        PushedRequest(
            uri_hash=digest(uri),
            client_id=client_id,
            parameters={name: value for name, value in fields.items() if name not in SECRET},
            created_at=now,
            expires_at=now + LIFE,
        )
    )
    return uri


def find(session: Session, uri: str, client_id: str | None, now: datetime) -> PushedRequest:
    """The request that this client pushed, locked. Raises InvalidRequestError when there is none,
    it was answered already, or it is too old."""
    row = None
    if REFERENCE.fullmatch(uri):
        row = session.get(PushedRequest, digest(uri), with_for_update=True)
    if row is None or row.client_id != client_id or row.used_at or row.expires_at <= now:
        raise InvalidRequestError
    return row


async def change(session: AsyncSession, uri: str, **fields: str) -> None:
    """Let the person's choice stand in a request that waits for it."""
    row = await session.get(PushedRequest, digest(uri), with_for_update=True)
    if row is not None and row.used_at is None:
        row.parameters = {**row.parameters, **fields}
