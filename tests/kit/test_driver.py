"""What is spoken to the driver gets over what SQLAlchemy's own statements get over."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import ServiceBase, new_metadata, open_engine, open_sessions
from kit.driver import speak
from kit.testing import Ground


class Base(ServiceBase):
    metadata = new_metadata()


class Parcel(Base):
    __tablename__ = "parcel"
    id: Mapped[str] = mapped_column(primary_key=True)
    weight: Mapped[int]


@pytest.fixture
async def url(ground: Ground) -> str:
    return await ground.database("helpdesk_svc")


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    made = open_engine(url, pool=2, overflow=0)
    async with made.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with open_sessions(made).begin() as session:
        session.add(Parcel(id="p", weight=1))
    yield made
    await made.dispose()


async def _spoken(engine: AsyncEngine) -> Any:
    async with open_sessions(engine)() as session:
        sql = "select weight from parcel where id = $1"
        rows = await session.run_sync(lambda now: speak(now.connection(), sql, ("p",)))
        return rows[0][0]


async def _got(engine: AsyncEngine) -> Any:
    async with open_sessions(engine)() as session:
        return (await session.get_one(Parcel, "p")).weight


async def _by_sqlalchemy(engine: AsyncEngine) -> Any:
    async with engine.connect() as connection:
        return await connection.scalar(text("select weight from parcel where id = 'p'"))


@pytest.mark.parametrize("look", [_spoken, _got, _by_sqlalchemy])
async def test_a_migration_of_a_column_costs_one_statement_and_no_more(
    engine: AsyncEngine, url: str, look: Any
) -> None:
    """Its plans are no good any more: who first meets one tells all connections."""
    async with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):  # both lie in the pool afterwards, and are taken by turns
            await connection.execute(text("select 1"))
    assert [await look(engine) for _ in range(4)] == [1] * 4
    elsewhere = open_engine(url)
    async with elsewhere.begin() as connection:
        await connection.execute(text("alter table parcel alter weight type bigint"))
    await elsewhere.dispose()
    refused = 0
    for _ in range(4):
        try:
            assert await look(engine) == 1
        except DBAPIError:
            refused += 1
    assert refused <= 1
