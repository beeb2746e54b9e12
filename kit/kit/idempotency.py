"""Idempotency-Key: the same key gives the same answer and one effect.

The key is scoped to client and route; another body under it is refused (422). The row is
inserted in the request's own transaction: a second request with the key waits on the first one's
row, then meets its stored answer. A request that failed stores nothing and may be repeated.
Answers hold people's data, so they lie sealed.

The key is taken before the work, so that nothing is done twice; only a route that asks for
`routing.Creating` takes it with the first thing that it asks of the database, or at its end.
"""

import hashlib
import json
from dataclasses import dataclass

from fastapi import Request, Response
from sqlalchemy import Connection, event, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from . import crash, outbox
from .auth import authenticate
from .db import IdempotencyKey
from .driver import speak
from .errors import InProgress, KeyMissing, KeyReused, Problem
from .secrets import Vault
from .sessions import RowSession

LATER = "key_to_take"
"""Key in `session.info`: the `Claim` that is to be taken when the session's transaction begins."""
KEPT_HEADERS = ("content-type", "etag", "location")
# Spoken to the driver as they stand: these two are in every creation, and are not to be built
# anew each time. Who waits for another request's key, or for any lock later on, waits 3 s.
_CLAIM = """
insert into idempotency_key (client, route, key, fingerprint)
select $1, $2, $3, $4 from set_config('lock_timeout', '3s', true)
on conflict do nothing returning key
"""
_KEEP = """
update idempotency_key set status = $4, headers = $5, body = $6
where client = $1 and route = $2 and key = $3
"""
# The events of the request go in with its answer, see `outbox.WRITE`.
_KEEP_AND_TELL = f"""
with events as ({outbox.WRITE.replace("$3", "$9").replace("$2", "$8").replace("$1", "$7")})
{_KEEP}
"""


class KeyUnfit(Problem):
    status, code = 400, "idempotency_key_unfit"
    title = ("Idempotency-Key 格式不符", "Idempotency-Key is not in the expected form")


@dataclass(slots=True)
class Claim:
    """The key of a request and, once this request has `taken` it, the right to act under it."""

    client: str
    route: str
    key: str
    fingerprint: str
    vault: Vault
    taken: bool = False

    @property
    def bound_to(self) -> str:
        return f"idempotency_key|body|{self.client} {self.route} {self.key}"


class Answered(Exception):
    """The key, taken late, turns out to be known: whatever was done is to be given up."""


def read_key(request: Request, *, required: bool) -> str | None:
    raw = request.headers.get("idempotency-key")
    if raw is None:
        if required:
            raise KeyMissing(
                "新建类请求请带 Idempotency-Key(例如一个 UUID),重试时用同一个值,不会重复办理。",
                "Send an Idempotency-Key (a UUID, say); repeat it when you retry.",
            )
        return None
    key = raw[1:-1] if len(raw) >= 2 and raw[0] == raw[-1] == '"' else raw
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise KeyUnfit(
            "Idempotency-Key 应为 1 到 255 个可见 ASCII 字符。",
            "An Idempotency-Key has 1 to 255 printable ASCII characters.",
        )
    return key


async def read(request: Request, path: str, *, required: bool) -> Claim | None:
    """The request's key, not yet taken. Raises KeyMissing where it is `required`, KeyUnfit."""
    key = read_key(request, required=required)
    if key is None or crash.planted("no_idempotency"):
        return None
    caller = await authenticate(request)
    client = caller.subject if caller else "anonymous"
    digest = hashlib.sha256(request.url.path.encode() + b"\0" + await request.body())
    vault: Vault = request.app.state.runtime.vault
    # Keyed: a plain hash of a body with a password or a phone number could be guessed at leisure.
    fingerprint = vault.index(digest.hexdigest())
    return Claim(client, f"{request.method} {path}", key, fingerprint, vault)


async def take(session: AsyncSession, claim: Claim) -> Response | None:
    """Take the key in this transaction; or the answer that it already has. Raises InProgress,
    KeyReused."""
    await session.run_sync(lambda now: _take(now.connection(), claim))
    return None if claim.taken else await answer(session, claim)


def _take(connection: Connection, claim: Claim) -> None:
    row = (claim.client, claim.route, claim.key, claim.fingerprint)
    try:
        claim.taken = bool(speak(connection, _CLAIM, row))
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) != "55P03":
            raise
        raise InProgress(
            "同一请求正在处理。请稍候用同一 Idempotency-Key 重试。",
            "The same request is being worked on. Retry with the same key in a moment.",
            headers={"retry-after": "1"},
        ) from None


@event.listens_for(RowSession, "after_begin")
def _take_now(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    claim: Claim | None = session.info.get(LATER)
    if claim is not None and not claim.taken:
        _take(connection, claim)
        if not claim.taken:
            raise Answered


async def answer(session: AsyncSession, claim: Claim) -> Response:
    """What the first request under the key was answered. Raises KeyReused."""
    same = {"client": claim.client, "route": claim.route, "key": claim.key}
    kept = (await session.execute(select(IdempotencyKey).filter_by(**same))).scalar_one()
    if kept.fingerprint != claim.fingerprint:
        raise KeyReused(
            "这个 Idempotency-Key 已用于内容不同的请求。请换一个新值。",
            "This Idempotency-Key belongs to a request with other content. Use a new one.",
        )
    headers = {**(kept.headers or {}), "idempotent-replayed": "true"}
    body = claim.vault.open_bytes(kept.body, bound_to=claim.bound_to) if kept.body else b""
    return Response(body, kept.status or 200, headers)


def sealed(claim: Claim, response: Response) -> tuple[int, str, bytes]:
    """The answer as it is kept: its status, its headers (JSON), its body."""
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    body = bytes(response.body)
    lies = claim.vault.seal_bytes(body, bound_to=claim.bound_to) if body else b""
    return response.status_code, json.dumps(headers), lies


def keep(session: Session, claim: Claim, response: Response) -> None:
    """Store the answer with its effect, to be given again for the same key."""
    args = (claim.client, claim.route, claim.key, *sealed(claim, response))
    session.flush()
    ids, subjects, bodies = outbox.take(session)
    if ids:
        speak(session.connection(), _KEEP_AND_TELL, (*args, ids, subjects, bodies))
    else:
        speak(session.connection(), _KEEP, args)
