"""A database that says nothing is known to be away before its statements run into their limits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.engine import make_url

from kit import db_watch
from kit.db import open_engine
from kit.db_watch import DatabaseWatch
from kit.testing import Ground


class Silence:
    """A road to the database on which nothing moves while `on`."""

    def __init__(self, port: int) -> None:
        self._port, self.on = port, False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_there, there = await asyncio.open_connection("127.0.0.1", self._port)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._pump(reader, there), self._pump(from_there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            while self.on:
                await asyncio.sleep(0.02)
            writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def watching(url: str) -> AsyncIterator[DatabaseWatch]:
    engine = open_engine(url)
    watch = DatabaseWatch(engine)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await engine.dispose()


async def until(watch: DatabaseWatch, *, away: bool) -> None:
    async with asyncio.timeout(20):
        while watch.away is not away:
            await asyncio.sleep(0.02)


async def test_silence_is_noticed_and_so_is_its_end(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db_watch, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(db_watch, "ASK_SECONDS", 0.1)
    real = make_url(ground.postgres.dsn(scheme="postgresql+asyncpg"))
    assert real.port is not None
    road = Silence(real.port)
    server = await asyncio.start_server(road.carry, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    url = real.set(port=port).render_as_string(hide_password=False)
    async with watching(url) as watch:
        await asyncio.sleep(0.5)
        assert not watch.away
        road.on = True
        await until(watch, away=True)
        road.on = False
        await until(watch, away=False)
    server.close()


async def test_routes_that_need_it_say_so_at_once(
    ground: Ground, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(self: DatabaseWatch) -> bool:
        return False

    monkeypatch.setattr(db_watch, "ASK_SECONDS", 0.05)
    async with ground.service("helpdesk_svc", nats=nats_url) as running:
        read = ("/v1/ratings", ground.person())
        assert (await running.client.get(read[0], headers=read[1])).status_code == 200
        monkeypatch.setattr(DatabaseWatch, "_answers", silent)
        await until(running.runtime.database, away=True)
        answer = await running.client.get(read[0], headers=read[1])
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"]
        assert (await running.client.get("/health/live")).status_code == 200
