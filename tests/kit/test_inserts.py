"""What `RowSession` inserts by itself is what the unit of work would have inserted."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from sqlalchemy import BigInteger, Connection, ForeignKey, Identity, event, func, inspect, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapped, Session, mapped_column

from kit import sessions as row_sessions
from kit.db import Document, Now, Sealed, ServiceBase, new_metadata, open_engine, open_sessions
from kit.driver import speak
from kit.testing import Ground


class Base(ServiceBase):
    metadata = new_metadata()


class Parcel(Base):
    __tablename__ = "parcel"
    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    version: Mapped[int] = mapped_column(default=1)
    note: Mapped[str | None]
    state: Mapped[str] = mapped_column("condition", server_default="new")
    more: Mapped[Document]
    maybe: Mapped[Any] = mapped_column(JSONB, nullable=True)
    seal: Mapped[Sealed]
    created_at: Mapped[Now]


class Scan(Base):
    __tablename__ = "scan"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    parcel_id: Mapped[str] = mapped_column(ForeignKey("parcel.id"))
    tags: Mapped[list[str]] = mapped_column(JSONB)


class Made(Base):
    """None of those that are inserted by themselves: its default is called."""

    __tablename__ = "made"
    id: Mapped[str] = mapped_column(primary_key=True)
    tags: Mapped[list[str]] = mapped_column(JSONB, default=list)


Sessions = async_sessionmaker[AsyncSession]


@pytest.fixture
async def engine(ground: Ground) -> AsyncIterator[AsyncEngine]:
    made = open_engine(await ground.database("helpdesk_svc"))
    async with made.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield made
    await made.dispose()


@pytest.fixture(params=["by itself", "unit of work"])
def sessions(
    engine: AsyncEngine, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Sessions:
    if request.param == "unit of work":
        monkeypatch.setattr(row_sessions, "FEW", 0)
    return open_sessions(engine)


def parcel(id: str, **given: Any) -> Parcel:
    return Parcel(**{"id": id, "more": {"街道": [1, None]}, "seal": b"\0\xff"} | given)


FORMS: dict[str, dict[str, Any]] = {
    "least": {},
    "full": {"number": 70, "version": 3, "note": "易碎", "state": "lost", "maybe": {"a": None}},
    "none": {"note": None, "maybe": None, "state": None, "version": None},
    "expression": {"note": func.upper("x")},
}


@pytest.mark.parametrize("form", FORMS)
async def test_row_and_object_are_those_of_the_unit_of_work(
    engine: AsyncEngine, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for few in (0, 4):
        monkeypatch.setattr(row_sessions, "FEW", few)
        async with open_sessions(engine)() as session:
            mine = parcel("p1", **FORMS[form])
            session.add(mine)
            await session.flush()
            state = inspect(mine)
            assert state.persistent
            assert not state.modified
            held = {name: value for name, value in state.dict.items() if name[0] != "_"}
            table = Parcel.__table__
            query = select(table, table.c.maybe.is_(None).label("no_maybe"))
            row = dict((await session.execute(query)).mappings().one())
            assert isinstance(held.pop("created_at"), datetime)
            del row["created_at"]
            seen.append((held | {"number": 0}, row | {"number": 0}, held["number"] > 0))
            await session.rollback()
    assert seen[0] == seen[1]


async def test_the_session_has_it_as_any_other(sessions: Sessions) -> None:
    async with sessions() as session:
        mine = parcel("p1")
        session.add(mine)
        await session.flush()
        assert await session.get(Parcel, "p1") is mine
        mine.note = "changed"
        await session.commit()
    async with sessions() as session:
        mine = await session.get_one(Parcel, "p1")
        assert (mine.note, mine.state, mine.version) == ("changed", "new", 1)
        session.add_all([Scan(parcel_id="p1", tags=["a"]), parcel("p2")])
        await session.delete(await session.get_one(Parcel, "p1"))
        with pytest.raises(IntegrityError):
            await session.commit()


async def test_a_savepoint_takes_back_its_own_and_no_more(sessions: Sessions) -> None:
    async with sessions() as session:
        session.add(parcel("p1"))
        await session.flush()
        again = parcel("p2", number=5)

        async def both() -> None:
            async with session.begin_nested():
                session.add_all([again, parcel("p3", number=5)])
                await session.flush()

        with pytest.raises(IntegrityError) as raised:
            await both()
        assert raised.value.orig.sqlstate == "23505"  # type: ignore[union-attr]
        assert inspect(again).transient
        session.add(parcel("p4"))
        await session.commit()
    async with sessions() as session:
        found = await session.scalars(select(Parcel.id).order_by(Parcel.id))
        assert found.all() == ["p1", "p4"]


async def test_after_a_failure_nothing_of_the_transaction_stays(sessions: Sessions) -> None:
    async with sessions() as session:
        session.add(parcel("p1"))
        await session.flush()
        session.add(Scan(parcel_id="nobody", tags=[]))
        with pytest.raises(IntegrityError):
            await session.flush()
        await session.rollback()
        assert await session.scalar(select(func.count()).select_from(Parcel)) == 0


async def test_parents_and_children_go_in_the_order_of_the_unit_of_work(
    sessions: Sessions,
) -> None:
    async with sessions() as session:
        scan = Scan(parcel_id="p1", tags=["x"])
        session.add_all([scan, parcel("p1")])
        await session.commit()
        assert scan.id > 0


async def test_what_is_new_goes_by_itself_unless_it_is_more_than_a_plain_row(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken: list[str] = []

    def note(connection: Connection, sql: str, values: Any) -> Any:
        if sql.startswith("INSERT"):
            spoken.append(sql.split()[2])
        return speak(connection, sql, values)

    monkeypatch.setattr(row_sessions, "speak", note)
    async with open_sessions(engine)() as session:
        session.add_all([parcel("p1"), Scan(parcel_id="p1", tags=[])])
        await session.flush()
        assert spoken == ["parcel", "scan"]
        session.add_all([Made(id="m1"), parcel("p2")])
        await session.flush()
        session.add_all([parcel(f"q{n}") for n in range(row_sessions.FEW + 1)])
        await session.flush()
        await session.delete(await session.get_one(Parcel, "p2"))
        session.add(parcel("p3"))
        await session.commit()
        assert spoken == ["parcel", "scan"]


async def test_who_listens_hears_the_insert(engine: AsyncEngine) -> None:
    sent: list[str] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    async with open_sessions(engine)() as session:
        session.add(parcel("p1"))
        await session.commit()
    assert len(sent) == 1, sent


async def test_a_connection_that_broke_is_given_up(engine: AsyncEngine) -> None:
    async with open_sessions(engine)() as session:
        pid = await session.scalar(select(func.pg_backend_pid()))
        url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        other = await asyncpg.connect(url)
        await other.execute("select pg_terminate_backend($1, 5000)", pid)
        await other.close()
        session.add(parcel("p1"))
        with pytest.raises(DBAPIError) as raised:
            await session.commit()
        assert raised.value.connection_invalidated
    async with open_sessions(engine)() as session:
        session.add(parcel("p1"))
        await session.commit()


async def test_a_statement_that_is_cancelled_leaves_no_connection_behind_in_the_pool(
    engine: AsyncEngine,
) -> None:
    def sleep(now: Session) -> None:
        connection: Connection = now.connection()
        speak(connection, "select pg_sleep($1)", [30.0])

    async with open_sessions(engine)() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await session.run_sync(sleep)
    async with open_sessions(engine)() as session:
        session.add(parcel("p1"))
        await session.commit()
        assert await session.scalar(select(func.count()).select_from(Parcel)) == 1
