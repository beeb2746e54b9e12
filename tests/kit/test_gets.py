"""What `RowSession` gets by itself is what SQLAlchemy would have loaded."""

import asyncio
import gc
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, inspect, select, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapped, Session, mapped_column, undefer
from sqlalchemy.types import String

from kit import sessions as row_sessions
from kit.db import Document, Now, Sealed, ServiceBase, new_metadata, open_engine, open_sessions
from kit.driver import speak
from kit.testing import Ground


class Base(ServiceBase):
    metadata = new_metadata()


class Shelf(Base):
    __tablename__ = "shelf"
    hall: Mapped[UUID] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column("slot", primary_key=True)
    label: Mapped[str | None]
    state: Mapped[str] = mapped_column("condition", server_default="new")
    more: Mapped[Document]
    maybe: Mapped[Any] = mapped_column(JSONB, nullable=True)
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(String()))
    seal: Mapped[Sealed]
    created_at: Mapped[Now]


class Weight(Base):
    """None of those: numbers with a point are not read alike everywhere."""

    __tablename__ = "weight"
    id: Mapped[str] = mapped_column(primary_key=True)
    kilos: Mapped[float]
    price: Mapped[Decimal]


class Book(Base):
    """Nor this one: it is not read whole."""

    __tablename__ = "book"
    id: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(deferred=True)


Sessions = async_sessionmaker[AsyncSession]
HALL = uuid4()


@pytest.fixture
async def engine(ground: Ground) -> AsyncIterator[AsyncEngine]:
    made = open_engine(await ground.database("helpdesk_svc"))
    async with made.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with open_sessions(made).begin() as session:
        given: dict[str, Any] = {"hall": HALL, "more": {"街道": [1, None]}, "seal": b"\0\xff"}
        session.add(Shelf(place=1, label="one", maybe=["x"], tags=["a", "b"], **given))
        session.add(Shelf(place=2, **given))
        session.add_all([Book(id="b", text="x"), Weight(id="w", kilos=1.5, price=Decimal("2.50"))])
    yield made
    await made.dispose()


@pytest.fixture
def sessions(engine: AsyncEngine) -> Sessions:
    return open_sessions(engine)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements by which rows were got without SQLAlchemy's loading."""
    said: list[str] = []

    def noting(connection: Any, sql: str, values: Any) -> Any:
        if sql.startswith("SELECT"):
            said.append(sql)
        return speak(connection, sql, values)

    monkeypatch.setattr(row_sessions, "speak", noting)
    return said


@pytest.mark.parametrize("lock", [False, True])
async def test_the_object_is_the_one_that_sqlalchemy_loads(
    sessions: Sessions, alone: list[str], lock: bool
) -> None:
    for place in (1, 2):
        async with sessions() as session, sessions() as other:
            mine = await session.get_one(Shelf, (HALL, place), with_for_update=lock)
            query = select(Shelf).where(Shelf.place == place)
            theirs = (await other.scalars(query)).one()
            for each in (mine, theirs):
                state = inspect(each)
                assert state.persistent
                assert not state.modified
                assert not state.expired_attributes
            held, wanted = dict(inspect(mine).dict), dict(inspect(theirs).dict)
            del held["_sa_instance_state"], wanted["_sa_instance_state"]
            assert held == wanted
            assert inspect(mine).key == inspect(theirs).key
            assert await session.get(Shelf, [HALL, place]) is mine
            assert (await session.scalars(query)).one() is mine
    assert len(alone) == 2
    assert all(("FOR UPDATE" in sql) is lock for sql in alone)


async def test_it_is_changed_and_rolled_back_as_any_other(sessions: Sessions) -> None:
    async with sessions() as session:
        mine = await session.get_one(Shelf, (HALL, 1), with_for_update=True)
        mine.label = "changed"
        await session.flush()
        await session.rollback()
        await session.refresh(mine)
        assert mine.label == "one"
        mine.label, mine.more = "again", {}
        await session.commit()
    async with sessions() as session:
        mine = await session.get_one(Shelf, (HALL, 1))
        assert (mine.label, mine.more) == ("again", {})
        await session.delete(mine)
        await session.commit()
        assert await session.get(Shelf, (HALL, 1)) is None


async def test_a_lock_holds_until_the_end(sessions: Sessions) -> None:
    async def add() -> None:
        async with sessions.begin() as session:
            mine = await session.get_one(Shelf, (HALL, 1), with_for_update=True)
            seen = mine.label or ""
            await asyncio.sleep(0.01)
            mine.label = seen + "x"

    await asyncio.gather(*(add() for _ in range(6)))
    async with sessions() as session:
        assert (await session.get_one(Shelf, (HALL, 1))).label == "onexxxxxx"


async def test_a_known_object_is_for_sqlalchemy(sessions: Sessions, alone: list[str]) -> None:
    async with sessions() as session:
        mine = await session.get_one(Shelf, (HALL, 1))
        async with sessions.begin() as other:
            await other.execute(update(Shelf).values(label="meanwhile"))
        assert (await session.get_one(Shelf, (HALL, 1))).label == "one"
        again = await session.get_one(
            Shelf, (HALL, 1), with_for_update=True, populate_existing=True
        )
        assert again is mine
        assert mine.label == "meanwhile"
        assert len(alone) == 1


async def test_what_is_locked_is_read_as_it_is_then(sessions: Sessions) -> None:
    """A row that was read before it was locked may have changed in between."""
    async with sessions() as session:
        mine = await session.get_one(Shelf, (HALL, 1))
        async with sessions.begin() as other:
            await other.execute(update(Shelf).values(label="meanwhile"))
        assert await session.get(Shelf, (HALL, 1), with_for_update=True) is mine
        assert mine.label == "meanwhile"
        mine.label = "changed"
        assert await session.get(Shelf, (HALL, 1), with_for_update=True) is mine
        assert mine.label == "changed", "what is not written yet is not lost"


async def test_who_lets_go_of_an_object_gets_a_new_one(sessions: Sessions) -> None:
    async with sessions() as session:
        mine: Shelf | None = await session.get_one(Shelf, (HALL, 1))
        assert len(list(session.identity_map.keys())) == 1
        del mine
        gc.collect()
        assert not list(session.identity_map.keys())
        assert (await session.get_one(Shelf, (HALL, 1))).label == "one"


async def test_what_asks_for_more_is_for_sqlalchemy(
    sessions: Sessions, engine: AsyncEngine, alone: list[str]
) -> None:
    key = {"hall": HALL, "place": 1}
    async with sessions() as session:
        assert (await session.get_one(Shelf, key)).label == "one"
    async with sessions() as session:
        assert await session.get(Shelf, (HALL, 1), with_for_update={"skip_locked": True})
    async with sessions() as session:
        assert await session.get(Shelf, (HALL, 1), populate_existing=True)
    async with sessions() as session:
        assert (await session.get_one(Book, "b", options=[undefer(Book.text)])).text == "x"
    async with sessions() as session:
        assert "text" not in inspect(await session.get_one(Book, "b")).dict
    async with sessions() as session:
        weight = await session.get_one(Weight, "w", with_for_update=True)
        assert (weight.kilos, weight.price) == (1.5, Decimal("2.50"))
    async with sessions() as session:
        heard: list[Any] = []
        event.listen(session.sync_session, "do_orm_execute", heard.append)
        assert await session.get(Shelf, (HALL, 1))
        assert heard
    async with async_sessionmaker(engine, sync_session_class=row_sessions.RowSession)() as session:
        session.add(Shelf(hall=HALL, place=7, more={}, seal=b""))
        assert await session.get(Shelf, (HALL, 7)), "it is flushed before"
    assert alone == []


async def test_a_missing_row_is_none(sessions: Sessions, alone: list[str]) -> None:
    async with sessions() as session:
        assert await session.get(Shelf, (HALL, 3), with_for_update=True) is None
        assert len(alone) == 1


async def test_a_session_of_its_own_takes_the_connection_that_it_is_given(
    engine: AsyncEngine,
) -> None:
    async with engine.connect() as connection:
        await connection.execute(update(Shelf).values(label="not committed"))

        def look(sync: Any) -> str | None:
            with row_sessions.RowSession(sync, autoflush=False) as session:
                assert isinstance(session, Session)
                return session.get_one(Shelf, (HALL, 1)).label

        assert await connection.run_sync(look) == "not committed"
