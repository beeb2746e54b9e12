"""Two toy services, alpha that tells and beta that listens, over real PostgreSQL and NATS."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from contracts.event import Event
from kit.bus import Bus
from kit.db import KitBase, Sessions, open_engine, open_sessions
from kit.embedded import NatsServer, PostgresServer
from kit.inbox import Subscribers
from kit.outbox import emit
from kit.settings import ServiceSettings

_made: set[str] = set()


class _Pinged(Event):
    TYPE: ClassVar[str] = "alpha.pinged.v1"
    number: int


@dataclass
class Service:
    """A service's database and, while it runs, its bus."""

    name: str
    url: str
    engine: AsyncEngine
    sessions: Sessions
    on: Subscribers = field(default_factory=Subscribers)
    buses: list[Bus] = field(default_factory=list)

    async def start(
        self,
        nats: str,
        *,
        nats_user: str = "",
        nats_password: str = "",
        nats_replicas: int = 1,
        **options: Any,
    ) -> Bus:
        settings = ServiceSettings(
            service=self.name,
            database_url=SecretStr(self.url),
            nats_url=nats,
            nats_user=nats_user,
            nats_password=SecretStr(nats_password),
            nats_replicas=nats_replicas,
        )
        bus = Bus(settings, self.engine, self.sessions, self.on, **options)
        await bus.start()
        self.buses.append(bus)
        return bus

    async def stop(self) -> None:
        while self.buses:
            await self.buses.pop().stop()

    async def ping(self, *numbers: int) -> None:
        """Emit each number in a transaction of its own."""
        for number in numbers:
            async with self.sessions.begin() as session:
                emit(session, _Pinged(number=number), subject=f"p_{number}", version=1)

    async def column(self, query: str) -> list[Any]:
        async with self.sessions() as session:
            return list(await session.scalars(text(query)))

    async def rows(self, query: str) -> list[Any]:
        async with self.sessions() as session:
            return list((await session.execute(text(query))).all())

    async def note(self, session: AsyncSession, number: int) -> None:
        """The effect of an event: a second one for the same number would show."""
        await session.execute(text("insert into effect values (:n)"), {"n": number})

    async def effects(self) -> list[int]:
        return await self.column("select number from effect order by number")

    async def has(self, count: int) -> bool:
        return len(await self.effects()) >= count


class Broker(NatsServer):
    """A broker that can lose everything."""

    def stop_and_wipe(self) -> None:
        """Kill it, delete its store, start it again."""
        self.kill()
        shutil.rmtree(self.store)
        self.start()

    def stop_keeping(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)
        while self.poll() is None:
            time.sleep(0.01)


@pytest.fixture
def ping() -> type[_Pinged]:
    return _Pinged


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer.temporary() as server:
        yield server


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker.temporary() as server:
        yield server


@pytest.fixture
def nats(broker: Broker) -> str:
    return broker.url


async def open_service(
    stack: contextlib.AsyncExitStack, server: PostgresServer, name: str
) -> Service:
    """Its database is made once and emptied for each test: new ones would take longer."""
    if name not in _made:
        admin = await asyncpg.connect(server.dsn())
        await admin.execute(f"create database {name}")
        await admin.close()
    url = server.dsn(name, scheme="postgresql+asyncpg")
    engine = open_engine(url)
    stack.push_async_callback(engine.dispose)
    async with engine.begin() as connection:
        if name not in _made:
            await connection.run_sync(KitBase.metadata.create_all)
            await connection.execute(text("create table effect (number int not null)"))
            await connection.execute(text("create table heard (number int not null)"))
        tables = "outbox, inbox, dead_letter, effect, heard"
        await connection.execute(text(f"truncate {tables} restart identity"))
    _made.add(name)
    service = Service(name, url, engine, open_sessions(engine))
    stack.push_async_callback(service.stop)
    return service


@pytest.fixture
async def alpha(postgres: PostgresServer) -> AsyncIterator[Service]:
    async with contextlib.AsyncExitStack() as stack:
        yield await open_service(stack, postgres, "alpha")


@pytest.fixture
async def beta(postgres: PostgresServer) -> AsyncIterator[Service]:
    async with contextlib.AsyncExitStack() as stack:
        yield await open_service(stack, postgres, "beta")
