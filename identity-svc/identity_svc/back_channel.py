"""Back-channel logout (OpenID Connect Back-Channel Logout 1.0): who signed somebody in is told
when that sign-in ends.

A notice is a row, written in the transaction that ends the sign-in, one for each client that has
something of it. waiting → delivered, or given up after eight tries within about a day: then
operators see it. Every try carries a token of its own, so a lost answer does not look like a copy.
"""

import asyncio
import logging
import time
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit import jobs
from kit.clock import now
from kit.guarded import Outward, Unreachable
from kit.ids import uuid7
from kit.jose import SigningKey
from kit.runtime import Runtime

from .models import Client, LoginSession, LogoutNotice, RefreshFamily
from .settings import Settings

log = logging.getLogger(__name__)
EVENT = "http://schemas.openid.net/event/backchannel-logout"
TOKEN_SECONDS = 120
PAUSES = (5, 30, 120, 600, 3600, 14_400, 43_200)
"""Seconds before the second, third … try; after the one that follows the last: given up."""
LEASE = timedelta(seconds=60)
AT_ONCE = 20
KEPT = timedelta(days=7)
JOB = "deliver_logouts"


async def note(session: AsyncSession, which: ColumnElement[bool]) -> None:
    """These sign-ins (a condition on LoginSession) are over: note it for every client that has
    something of them, also when a person acted for somebody else there."""
    at = now()
    told = (
        select(
            RefreshFamily.client_id,
            RefreshFamily.session_id,
            LoginSession.account_id,
            literal("waiting"),
            literal(0),
            literal(at),
            literal(at),
        )
        .join(LoginSession, LoginSession.id == RefreshFamily.session_id)
        .join(Client, Client.client_id == RefreshFamily.client_id)
        .where(
            which,
            RefreshFamily.expires_at > at,
            Client.backchannel_logout_uri.is_not(None),
            Client.active,
        )
        .distinct()
    )
    names = ["client_id", "session_id", "account_id", "state", "tries", "due_at", "created_at"]
    row = insert(LogoutNotice).from_select(names, told).on_conflict_do_nothing()
    if (await session.scalars(row.returning(LogoutNotice.client_id))).first() is not None:
        jobs.wake(session, JOB)


def logout_token(key: SigningKey, issuer: str, notice: LogoutNotice) -> str:
    """§2.4; without `nonce`, so that nobody takes it for an id_token."""
    at = int(time.time())
    claims = {
        "iss": issuer,
        "aud": notice.client_id,
        "sub": notice.account_id,
        "sid": notice.session_id,
        "iat": at,
        "exp": at + TOKEN_SECONDS,
        "jti": uuid7().hex,
        "events": {EVENT: {}},
    }
    return key.sign(claims, "logout+jwt")


async def deliver(runtime: Runtime) -> int:
    """Tell those whose time has come; how many that were. Several processes share the work."""
    settings = runtime.settings
    assert isinstance(settings, Settings)
    at = now()
    due = (
        select(LogoutNotice.client_id, LogoutNotice.session_id)
        .where(LogoutNotice.state == "waiting", LogoutNotice.due_at <= at)
        .order_by(LogoutNotice.due_at)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
        .subquery()
    )
    async with runtime.sessions.begin() as session:
        taken = await session.scalars(
            update(LogoutNotice)
            .where(
                LogoutNotice.client_id == due.c.client_id,
                LogoutNotice.session_id == due.c.session_id,
            )
            .values(due_at=at + LEASE, tries=LogoutNotice.tries + 1)
            .returning(LogoutNotice)
        )
        mine = list(taken)
        names = {notice.client_id for notice in mine}
        query = select(Client.client_id, Client.backchannel_logout_uri).where(
            Client.client_id.in_(names), Client.active
        )
        places = {row.client_id: row.backchannel_logout_uri for row in await session.execute(query)}
    key, outward = await runtime.parts["keys"].current(), runtime.parts["outward"]
    await asyncio.gather(
        *(
            _tell(runtime, outward, key, settings.issuer, notice, places.get(notice.client_id))
            for notice in mine
        )
    )
    return len(mine)


async def _tell(
    runtime: Runtime,
    outward: Outward,
    key: SigningKey,
    issuer: str,
    notice: LogoutNotice,
    place: str | None,
) -> None:
    why = "switched off"
    if place is not None:
        try:
            token = logout_token(key, issuer, notice)
            status = await outward.post(place, {"logout_token": token})
            why = "" if status in (200, 204) else f"status {status}"
        except (Unreachable, OSError) as error:
            why = type(error).__name__
    change: dict[str, Any]
    if not why:
        change = {"state": "delivered", "why": None}
    elif place is None or notice.tries > len(PAUSES):
        change = {"state": "given_up", "why": why}
        fields = {"client": notice.client_id, "why": why}
        log.error("a logout could not be told", extra={"fields": fields})
    else:
        pause = timedelta(seconds=PAUSES[notice.tries - 1])
        change = {"due_at": now() + pause, "why": why}
    async with runtime.sessions.begin() as session:
        mine = (
            LogoutNotice.client_id == notice.client_id,
            LogoutNotice.session_id == notice.session_id,
        )
        await session.execute(update(LogoutNotice).where(*mine).values(**change))


async def check(session: AsyncSession) -> dict[str, Any]:
    """For operators: holds while nothing was given up within the last day."""
    since = now() - timedelta(days=1)
    query = (
        select(LogoutNotice.state, func.count())
        .where((LogoutNotice.state == "waiting") | (LogoutNotice.due_at > since))
        .group_by(LogoutNotice.state)
    )
    counts = {row[0]: row[1] for row in await session.execute(query)}
    gone = counts.get("given_up", 0)
    return {"ok": gone == 0, "waiting": counts.get("waiting", 0), "given_up": gone}


async def forget(session: AsyncSession) -> None:
    """Delete what was told, or given up, a week ago."""
    old = (LogoutNotice.state != "waiting", LogoutNotice.due_at < now() - KEPT)
    await session.execute(delete(LogoutNotice).where(*old))
