"""A database server that is told to go says so to connections that ask nothing, and hangs up a
moment later. What is asked in that moment the driver refuses in words of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from kit import db_watch, errors
from kit.db import IdempotencyKey, open_engine, open_sessions
from kit.db_watch import DatabaseWatch
from kit.lookups import Lookup, Reader
from kit.testing import Ground

FIELDS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"
FATAL = b"E" + (4 + len(FIELDS)).to_bytes(4) + FIELDS
KEPT = Lookup(select(IdempotencyKey.key), by=IdempotencyKey.key)


@dataclass
class Road:
    """To the database; on it the server's last words arrive without its hanging up."""

    there: int
    port: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        from_there, there = await asyncio.open_connection("127.0.0.1", self.there)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._pump(reader, there), self._pump(from_there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    async def say_last_words(self) -> None:
        writers, self.writers = self.writers, []
        for writer in writers:
            writer.write(FATAL)
        await asyncio.sleep(0.1)


@pytest.fixture
async def road(ground: Ground) -> AsyncIterator[Road]:
    there = make_url(await ground.database("helpdesk_svc")).port
    assert there is not None
    made = Road(there)
    server = await asyncio.start_server(made.carry, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
async def engine(ground: Ground, road: Road) -> AsyncIterator[AsyncEngine]:
    url = make_url(await ground.database("helpdesk_svc")).set(host="127.0.0.1", port=road.port)
    made = open_engine(url.render_as_string(hide_password=False), pool=1, overflow=0)
    yield made
    await made.dispose()


async def test_a_lookup_is_asked_again(engine: AsyncEngine, road: Road) -> None:
    reader = Reader(engine)
    for _ in range(3):
        assert await reader.one(KEPT, "nobody's") is None
        await road.say_last_words()
    await reader.close()


async def test_a_request_is_told_to_come_again(engine: AsyncEngine, road: Road) -> None:
    app, sessions = FastAPI(), open_sessions(engine)
    errors.install(app)

    @app.get("/")
    async def look() -> None:
        async with sessions() as session:
            await session.execute(text("select 1"))

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        assert (await client.get("/")).status_code == 200
        await road.say_last_words()
        answer = await client.get("/")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert (await client.get("/")).status_code == 200, "over another connection"


async def test_the_watch_goes_on(
    engine: AsyncEngine, road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db_watch, "ASK_SECONDS", 0.05)
    watch = DatabaseWatch(engine)
    task = asyncio.create_task(watch.run())
    async with asyncio.timeout(20):
        for _ in range(3):
            while not road.writers and not task.done():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            await road.say_last_words()
            assert not task.done()
        while watch.away:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
