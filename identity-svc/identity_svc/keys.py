"""The signing keys: kept sealed in the database, shared by all processes, replaced in turn.

next (published, so that everyone knows it) → current (signs) → retired (published until the last
token that it signed is dead). A new key is published a day before it signs. A key that somebody
else may have is withdrawn: not published from that moment on, and everybody is told.
"""

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from kit.clock import now
from kit.db import Sessions
from kit.jose import KeySet, SigningKey
from kit.secrets import Vault

from . import families
from .models import SigningKeyRow

log = logging.getLogger(__name__)
PUBLISHED_BEFORE_USE = timedelta(hours=24)
KEPT_AFTER_USE = timedelta(hours=1)
FRESH_SECONDS = 5
"""How old a process's view of them may be; after a withdrawal it signs with a dead key so long."""
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
    current, following = await _two(session)
    at = now()
    too_young = current.current_at is None or at - current.current_at < older_than
    if too_young or at - following.created_at < PUBLISHED_BEFORE_USE:
        return False
    current.retired_at = at
    await _replace(session, vault, current, following, "retired")
    return True


async def withdraw(session: AsyncSession, vault: Vault) -> str:
    """Make the next key the current one at once, and let nobody believe the old one any more: its
    tokens are refused, people sign in again. The `kid` of the old one."""
    current, following = await _two(session)
    await _replace(session, vault, current, following, "withdrawn")
    families.tell(session, "key", current.kid)
    return current.kid


async def _two(session: AsyncSession) -> tuple[SigningKeyRow, SigningKeyRow]:
    await session.execute(LOCK)
    query = select(SigningKeyRow).where(SigningKeyRow.state.in_(("current", "next")))
    rows = {row.state: row for row in await session.scalars(query)}
    return rows["current"], rows["next"]


async def _replace(
    session: AsyncSession, vault: Vault, old: SigningKeyRow, new: SigningKeyRow, end: str
) -> None:
    at = now()
    old.state = end
    await session.flush()
    new.state, new.current_at = "current", at
    await session.flush()
    session.add(_born(vault, "next", at))
    await session.flush()


@dataclass(frozen=True)
class Turn:
    """A key, and what happens to it when (UTC); None: never, or not known yet."""

    kid: str
    state: str
    published_at: datetime
    signs_from: datetime | None
    published_until: datetime | None


async def turns(session: AsyncSession, *, key_days: int) -> list[Turn]:
    """The keys that are published, the oldest first. The next one signs when it has been public
    for a day and the current one is `key_days` old."""
    rows = list(await session.scalars(_published().order_by(SigningKeyRow.created_at)))
    current = next(row for row in rows if row.state == "current")
    assert current.current_at is not None
    planned = current.current_at + timedelta(days=key_days)
    return [
        Turn(
            kid=row.kid,
            state=row.state,
            published_at=row.created_at,
            signs_from=max(planned, row.created_at + PUBLISHED_BEFORE_USE)
            if row.state == "next"
            else row.current_at,
            published_until=row.retired_at + KEPT_AFTER_USE if row.retired_at else None,
        )
        for row in rows
    ]


def _published() -> Select[SigningKeyRow]:
    """Withdrawn ones have no `retired_at`."""
    return select(SigningKeyRow).where(
        SigningKeyRow.state.in_(("current", "next"))
        | (SigningKeyRow.retired_at > func.now() - KEPT_AFTER_USE)
    )


class SigningKeys:
    """This process's view of the keys, read again every few seconds."""

    def __init__(self, sessions: Sessions, vault: Vault) -> None:
        self._sessions, self._vault = sessions, vault
        self._read_at = float("-inf")
        self._current: SigningKey | None = None
        self._opened: dict[str, SigningKey] = {}
        self._jwks: dict[str, Any] = {"keys": []}
        self._set = KeySet(self._jwks)

    async def refresh(self, *, force: bool = False) -> None:
        """Read the keys again when they are old; while the database is away the known ones
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
        opened = {
            row.kid: self._opened.get(row.kid)
            or SigningKey(self._vault.open(row.pem, bound_to=_bound(row.kid)).encode())
            for row in rows
        }
        if opened.keys() != self._opened.keys():
            self._jwks = {"keys": [key.public_jwk for key in opened.values()]}
            self._set = KeySet(self._jwks)
        self._opened = opened
        self._current = next(opened[row.kid] for row in rows if row.state == "current")

    async def _rows(self) -> list[SigningKeyRow]:
        async with self._sessions() as session:
            query = _published().order_by(SigningKeyRow.created_at)
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
