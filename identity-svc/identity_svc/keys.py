"""The signing keys: kept sealed in the database, shared by all processes, replaced in turn.

next (published, so that everyone knows it) → current (signs) → retired (published until the last
token that it signed is dead). A new key is published a day before it signs.
"""

import logging
import time
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from kit.clock import now
from kit.db import Sessions
from kit.jose import KeySet, SigningKey
from kit.secrets import Vault

from .models import SigningKeyRow

log = logging.getLogger(__name__)
PUBLISHED_BEFORE_USE = timedelta(hours=24)
KEPT_AFTER_USE = timedelta(hours=1)
FRESH_SECONDS = 60
LOCK = text("select pg_advisory_xact_lock(hashtext('identity signing keys'))")


def _bound(kid: str) -> str:
    return f"signing_key|pem|{kid}"


def _born(vault: Vault, state: str, at: datetime) -> SigningKeyRow:
    pem = SigningKey.generate()
    kid = SigningKey(pem).kid
    return SigningKeyRow(
        kid=kid,
        pem=vault.seal(pem.decode(), bound_to=_bound(kid)),
        state=state,
        created_at=at,
        current_at=at if state == "current" else None,
    )


async def ensure(session: AsyncSession, vault: Vault) -> None:
    """See to it that there is a current and a next key; whoever starts first makes them."""
    await session.execute(LOCK)
    there = set(await session.scalars(select(SigningKeyRow.state)))
    for state in ("current", "next"):
        if state not in there:
            session.add(_born(vault, state, now()))
    await session.flush()


async def rotate(session: AsyncSession, vault: Vault, *, older_than: timedelta) -> bool:
    """Make the next key the current one when the current one is older than `older_than` and the
    next one has been public for a day. True when it happened."""
    await session.execute(LOCK)
    rows = {
        row.state: row
        for row in await session.scalars(
            select(SigningKeyRow).where(SigningKeyRow.state.in_(("current", "next")))
        )
    }
    current, following, at = rows["current"], rows["next"], now()
    too_young = current.current_at is None or at - current.current_at < older_than
    if too_young or at - following.created_at < PUBLISHED_BEFORE_USE:
        return False
    current.state, current.retired_at = "retired", at
    await session.flush()
    following.state, following.current_at = "current", at
    await session.flush()
    session.add(_born(vault, "next", at))
    await session.flush()
    return True


class SigningKeys:
    """This process's view of the keys, read again every minute."""

    def __init__(self, sessions: Sessions, vault: Vault) -> None:
        self._sessions, self._vault = sessions, vault
        self._read_at = float("-inf")
        self._current: SigningKey | None = None
        self._jwks: dict[str, Any] = {"keys": []}
        self._set = KeySet(self._jwks)

    async def refresh(self, *, force: bool = False) -> None:
        """Read the keys when they are a minute old; while the database is away the known ones
        go on serving."""
        if not force and time.monotonic() - self._read_at < FRESH_SECONDS:
            return
        self._read_at = time.monotonic()
        try:
            rows = await self._rows()
        except (SQLAlchemyError, OSError) as exc:
            if self._current is None or force:
                raise
            log.warning("signing keys could not be read again: %s", type(exc).__name__)
            return
        published = []
        for row in rows:
            key = SigningKey(self._vault.open(row.pem, bound_to=_bound(row.kid)).encode())
            published.append(key.public_jwk)
            if row.state == "current":
                self._current = key
        self._jwks = {"keys": published}
        self._set = KeySet(self._jwks)

    async def _rows(self) -> list[SigningKeyRow]:
        alive = SigningKeyRow.state.in_(("current", "next")) | (
            SigningKeyRow.retired_at > func.now() - KEPT_AFTER_USE
        )
        async with self._sessions() as session:
            query = select(SigningKeyRow).where(alive).order_by(SigningKeyRow.created_at)
            return list(await session.scalars(query))

    async def current(self) -> SigningKey:
        """The key that signs now."""
        await self.refresh()
        assert self._current is not None, "keys.ensure was not run"
        return self._current

    async def verifying(self) -> KeySet:
        await self.refresh()
        return self._set

    async def jwks(self) -> dict[str, Any]:
        """The public keys as a JWK set: next, current, and those just retired."""
        await self.refresh()
        return self._jwks
