"""Many requests' keys in one statement: each gets its own rows, its own error, and fresh ones."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Mapped, mapped_column

from kit import lookups
from kit.db import Document, Now, ServiceBase, new_metadata, open_engine
from kit.errors import Unavailable
from kit.lookups import Lookup, Reader
from kit.testing import Ground


class Base(ServiceBase):
    metadata = new_metadata()


class Thing(Base):
    __tablename__ = "thing"
    id: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int]
    owner: Mapped[str]
    more: Mapped[Document]
    big: Mapped[str] = mapped_column(deferred=True, server_default="big")
    created_at: Mapped[Now]


THING = Lookup(select(Thing), by=Thing.id)
OF_OWNER = Lookup(select(Thing).where(Thing.n < 100).order_by(Thing.n.desc()), by=Thing.owner)
BY_N = Lookup(select(Thing.id, Thing.n), by=Thing.n)


@pytest.fixture
async def engine(ground: Ground) -> AsyncIterator[AsyncEngine]:
    made = open_engine(await ground.database("helpdesk_svc"))
    async with made.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(
            text(
                "insert into thing (id, n, owner, more) select 't' || n, n, 'o' || n % 3, "
                "jsonb_build_object('n', n) from generate_series(0, 120) n"
            )
        )
    yield made
    await made.dispose()


@pytest.fixture
async def reader(engine: AsyncEngine) -> AsyncIterator[Reader]:
    made = Reader(engine)
    yield made
    await made.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """The keys of each statement."""
    keys: list[list[Any]] = []
    fetch = asyncpg.Connection.fetch

    async def noted(self: Any, query: str, *args: Any, **options: Any) -> Any:
        keys.append(args[0])
        return await fetch(self, query, *args, **options)

    monkeypatch.setattr(asyncpg.Connection, "fetch", noted)
    return keys


async def test_a_row_has_the_attributes_of_its_model(reader: Reader) -> None:
    thing = await reader.one(THING, "t7")
    assert thing is not None
    assert (thing.id, thing.n, thing.more) == ("t7", 7, {"n": 7})
    assert thing.created_at.tzinfo is not None
    assert not hasattr(thing, "big")
    with pytest.raises(AttributeError):
        thing.n = 8
    assert await reader.one(THING, "nobody") is None


async def test_many_ask_at_once_and_each_gets_his_own(
    reader: Reader, sent: list[list[Any]]
) -> None:
    wanted = [n % 130 for n in range(400)]
    found = await asyncio.gather(*(reader.one(THING, f"t{n}") for n in wanted))
    assert [row and row.n for row in found] == [n if n <= 120 else None for n in wanted]
    assert len(sent) == 1
    assert len(sent[0]) == 130


async def test_rows_of_a_key_keep_their_order(reader: Reader) -> None:
    # Both are asked for before either is awaited.
    first, second = reader.all(OF_OWNER, "o1"), reader.all(OF_OWNER, "o2")
    assert [row.n for row in await first] == [n for n in range(99, -1, -1) if n % 3 == 1]
    assert [row.n for row in await second] == [n for n in range(99, -1, -1) if n % 3 == 2]
    assert list(await reader.all(OF_OWNER, "o9")) == []


async def test_an_answer_is_never_older_than_its_question(
    engine: AsyncEngine, reader: Reader
) -> None:
    for n in range(20):
        async with engine.begin() as connection:
            await connection.execute(text(f"update thing set n = {n + 1000} where id = 't1'"))
        others = [reader.all(THING, "t1") for _ in range(3)]
        row = await reader.one(THING, "t1")
        assert row is not None
        assert row.n == n + 1000
        await asyncio.gather(*others)


async def test_a_key_that_cannot_be_asked_for_harms_nobody_else(reader: Reader) -> None:
    keys: list[Any] = [1, "no number", 3, 2**70]
    found = await asyncio.gather(*(reader.one(BY_N, k) for k in keys), return_exceptions=True)
    assert [getattr(row, "id", None) for row in found] == ["t1", None, "t3", None]
    assert all(isinstance(found[n], asyncpg.DataError) for n in (1, 3))


async def test_who_goes_takes_nobody_along(reader: Reader) -> None:
    asking = [asyncio.create_task(reader.one(THING, f"t{n % 2}")) for n in range(4)]
    await asyncio.sleep(0)  # the first has started the statement for all
    asking[0].cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert [row.n for row in found[1:]] == [1, 0, 1]  # type: ignore[union-attr]


async def end_sessions(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        )


async def test_a_connection_that_broke_while_idle_is_replaced(
    engine: AsyncEngine, reader: Reader
) -> None:
    for _ in range(2):
        found = await asyncio.gather(*(reader.one(THING, f"t{n}") for n in range(3)))
        assert [row and row.n for row in found] == [0, 1, 2]
        await end_sessions(engine)


async def test_a_connection_lost_in_the_middle_is_asked_again(
    engine: AsyncEngine, reader: Reader
) -> None:
    await reader.one(THING, "t1")
    async with engine.connect() as other, other.begin():
        await other.execute(text("lock table thing"))
        asking = asyncio.gather(*(reader.one(THING, f"t{n}") for n in range(3)))
        query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        async with asyncio.timeout(20):
            while not (await other.execute(text(query))).scalar():
                await asyncio.sleep(0.01)
        await other.execute(
            text(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where wait_event_type = 'Lock' and datname = current_database()"
            )
        )
    assert [row and row.n for row in await asking] == [0, 1, 2]


async def test_a_database_that_is_away_is_told_to_everybody_who_waits(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "SECONDS", 0.5)
    slow = Reader(engine)
    async with engine.connect() as other, other.begin():
        await other.execute(text("lock table thing"))
        asked = [slow.all(THING, f"t{n}") for n in range(3)] + [slow.all(OF_OWNER, "o1")]
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(error, Unavailable) for error in found)
    assert len({id(error) for error in found}) == 4
    assert (await slow.one(THING, "t1")) is not None
    await slow.close()


async def test_closing_leaves_nobody_waiting(engine: AsyncEngine) -> None:
    reader = Reader(engine)
    async with engine.connect() as other, other.begin():
        await other.execute(text("lock table thing"))
        asked = [reader.all(THING, "t1"), reader.all(OF_OWNER, "o1")]
        await asyncio.sleep(0.05)
        await reader.close()
        for future in asked:
            with pytest.raises(Unavailable):
                await future


async def test_it_can_only_read(reader: Reader) -> None:
    await reader.one(THING, "t1")
    assert reader._connection is not None
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await reader._connection.execute("update thing set n = 0")
