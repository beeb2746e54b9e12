"""Refresh families: rotation with reuse detection, and a short grace for answers that were lost.

A refresh token works once. Used again within the grace, while its successor has not been used,
it gives a new successor and the old one is dead: the client whose answer was lost goes on, and of
two holders of one token the first to be replaced gives the theft away. Any other reuse revokes
the whole family. These functions run inside Authlib's synchronous core, on its plain session.
"""

import logging
import secrets
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, and_, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from contracts.identity import SessionRevoked
from kit import clock
from kit.ids import new_id
from kit.outbox import emit

from . import back_channel
from .models import (
    AuthorizationCode,
    Client,
    DeviceRequest,
    LoginSession,
    RefreshFamily,
    RefreshToken,
    RevokedToken,
)
from .tokens import digest

log = logging.getLogger(__name__)


def start(
    session: Session,
    *,
    code: AuthorizationCode | DeviceRequest,
    login: LoginSession,
    now: datetime,
    days: int,
    jkt: str | None,
) -> RefreshFamily:
    """The family of all tokens that come from this code. With `jkt` its refresh tokens are of
    use only to who holds that key."""
    family = RefreshFamily(
        id=new_id("fam"),
        account_id=login.account_id,
        client_id=code.client_id,
        session_id=login.id,
        scope=code.scope,
        state="active",
        jkt=jkt,
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    session.add(family)
    session.flush()
    code.family_id = family.id
    return family


def revoke(session: Session, family_id: str, reason: str) -> None:
    """Revoke a family: its refresh tokens at once, its access tokens wherever the news comes."""
    active = (RefreshFamily.id == family_id, RefreshFamily.state == "active")
    for revoked in session.scalars(_end(reason, *active)):
        tell(session, "family", revoked)
    if reason in ("reuse", "code_reuse"):
        log.warning("stolen or repeated?", extra={"fields": {"family": family_id, "why": reason}})


async def revoke_of_session(session: AsyncSession, login_id: str, reason: str) -> None:
    """Revoke all families that came from one sign-in."""
    of_it = RefreshFamily.session_id == login_id
    for revoked in await session.scalars(_end(reason, of_it, RefreshFamily.state == "active")):
        tell(session, "family", revoked)
    await back_channel.note(session, LoginSession.id == login_id)


async def revoke_of_account(
    session: AsyncSession, account_id: str, reason: str, *, but: str | None = None
) -> None:
    """Revoke all that was issued to an account, and to its owner acting for others; what came
    from the sign-in `but` stands."""
    whose = or_(RefreshFamily.account_id == account_id, RefreshFamily.actor_id == account_id)
    if but is not None:
        whose = and_(whose, RefreshFamily.session_id != but)
    ended = _end(reason, whose, RefreshFamily.state == "active")
    for family in await session.scalars(ended):
        tell(session, "family", family)
    over = LoginSession.account_id == account_id
    await back_channel.note(session, and_(over, LoginSession.id != but) if but else over)
    if but is None:
        tell(session, "account", account_id)


async def revoke_of_client(session: AsyncSession, account_id: str | None, client_id: str) -> None:
    """Revoke all that a client got for an account, or (None) for anybody."""
    which = [RefreshFamily.client_id == client_id, RefreshFamily.state == "active"]
    if account_id is not None:
        which.append(RefreshFamily.account_id == account_id)
    reason = "consent_withdrawn" if account_id is not None else "client_off"
    for revoked in await session.scalars(_end(reason, *which)):
        tell(session, "family", revoked)


def _end(reason: str, *which: ColumnElement[bool]) -> ReturningUpdate[str]:
    ended = {"state": "revoked", "reason": reason, "version": RefreshFamily.version + 1}
    return update(RefreshFamily).where(*which).values(ended).returning(RefreshFamily.id)


def tell(
    session: AsyncSession | Session, what: Literal["token", "family", "account", "key"], ref: str
) -> None:
    """Tell everybody who verifies tokens that these are good for nothing any more."""
    event = SessionRevoked(what=what, ref=ref, until=clock.now())
    emit(session, event, subject=new_id("rev"), version=1)


def new_link(session: Session, family: RefreshFamily) -> str:
    """A new refresh token of the family, as the client will hold it."""
    token = secrets.token_urlsafe(32)
    session.add(RefreshToken(token_hash=digest(token), family_id=family.id))
    session.flush()
    return token


def find(session: Session, token: str) -> tuple[RefreshFamily, RefreshToken] | None:
    """The family and link of a refresh token, locked: one use at a time."""
    link = session.get(RefreshToken, digest(token))
    if link is None:
        return None
    family = session.get_one(RefreshFamily, link.family_id, with_for_update=True)
    session.refresh(link)
    return family, link


def may_use(
    session: Session,
    family: RefreshFamily,
    link: RefreshToken,
    *,
    client: Client,
    now: datetime,
    grace: timedelta,
) -> bool:
    """Whether this link may be exchanged for the next one. A reuse revokes the family."""
    if not family.check_client(client) or family.state != "active" or family.expires_at <= now:
        return False
    if link.used_at is None:
        return True
    successor = session.get(RefreshToken, link.replaced_by) if link.replaced_by else None
    if successor is not None and successor.used_at is None and now - link.used_at <= grace:
        return True
    revoke(session, family.id, "reuse")
    return False


def replace(session: Session, link: RefreshToken, successor: str, now: datetime) -> None:
    """Note that `successor` (a hash) was handed out for the link; one handed out before is dead,
    and its use will be a reuse."""
    if link.replaced_by is not None:
        session.get_one(RefreshToken, link.replaced_by).used_at = now
    link.used_at = link.used_at or now
    link.replaced_by = successor


def give_back(session: Session, jti: str, ends: datetime) -> None:
    """Take one access token back before its end."""
    row = insert(RevokedToken).values(jti=jti, expires_at=ends).on_conflict_do_nothing()
    if session.scalar(row.returning(RevokedToken.jti)) is not None:
        tell(session, "token", jti)
