"""Knows that the database says nothing any more before every request has found it out for itself.

A server that is dead refuses at once. One that is frozen, or behind a road that swallows packets,
lets each statement wait for its limit; who asks meanwhile is to be told at once.
"""

import asyncio
import contextlib
import logging

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

log = logging.getLogger(__name__)
ASK_SECONDS = 1.0
PATIENCE_SECONDS = 2.0
FAILURES = 2


class DatabaseWatch:
    """`away` while the database did not answer `FAILURES` questions in a row, over a connection of
    its own: a pool whose connections are all busy says nothing about the server."""

    def __init__(self, engine: AsyncEngine) -> None:
        url = engine.url.set(drivername="postgresql", query={})
        self._url = url.render_as_string(hide_password=False)
        self._connection: asyncpg.Connection | None = None
        self.away = False

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        try:
            while True:
                failures = 0 if await self._answers() else failures + 1
                away = failures >= FAILURES
                if away != self.away:
                    log.warning("the database %s", "says nothing" if away else "answers again")
                self.away = away
                await asyncio.sleep(ASK_SECONDS / 4 if failures else ASK_SECONDS)
        finally:
            self._drop()

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self._url)
                await self._connection.execute("select 1")
        except Exception:  # noqa: BLE001 - whatever it was, there was no answer; the watch goes on
            self._drop()
            return False
        return True

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(asyncpg.InterfaceError):
                connection.terminate()
