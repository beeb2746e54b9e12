"""What `RowSession` updates by itself is what the unit of work would have updated."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, event, func, inspect, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from kit import driver
from kit import sessions as row_sessions
from kit.db import Document, Now, Sealed, ServiceBase, new_metadata, open_engine, open_sessions
from kit.testing import Ground


class Base(ServiceBase):
    metadata = new_metadata()


class Crate(Base):
    __tablename__ = "crate"
    yard: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column("slot", primary_key=True)
    label: Mapped[str | None] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column("condition", server_default="new")
    version: Mapped[int] = mapped_column(default=1)
    more: Mapped[Document]
    maybe: Mapped[Any] = mapped_column(JSONB, nullable=True)
    seal: Mapped[Sealed]
    large: Mapped[str | None] = mapped_column(deferred=True)
    at: Mapped[datetime | None]
    created_at: Mapped[Now]


class Stamped(Base):
    """None of those that are updated by themselves: the update sets something besides."""

    __tablename__ = "stamped"
    id: Mapped[str] = mapped_column(primary_key=True)
    note: Mapped[str]
    changed_at: Mapped[datetime | None] = mapped_column(onupdate=func.now())


class Counted(Base):
    """Nor this one: SQLAlchemy counts its version."""

    __tablename__ = "counted"
    id: Mapped[str] = mapped_column(primary_key=True)
    note: Mapped[str]
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


Sessions = async_sessionmaker[AsyncSession]
MORE = {"街道": [1, None], "big": {"a": True}}


def crate(place: int, **given: Any) -> Crate:
    return Crate(**{"yard": "y", "place": place, "more": MORE, "seal": b"\0\xff"} | given)


@pytest.fixture
async def engine(ground: Ground) -> AsyncIterator[AsyncEngine]:
    made = open_engine(await ground.database("helpdesk_svc"))
    async with made.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with open_sessions(made)() as session:
        session.add_all([crate(1, label="one"), crate(2, label="two", maybe={"x": 1})])
        session.add_all([Stamped(id="s", note="-"), Counted(id="c", note="-")])
        await session.commit()
    yield made
    await made.dispose()


@pytest.fixture(params=["by itself", "unit of work"])
def sessions(
    engine: AsyncEngine, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Sessions:
    if request.param == "unit of work":
        monkeypatch.setattr(row_sessions, "FEW", -1)
    return open_sessions(engine)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each row that is updated without the unit of work."""
    done: list[int] = []
    change = driver.change

    def counting(*args: Any) -> int:
        done.append(change(*args))
        return done[-1]

    monkeypatch.setattr(row_sessions, "change", counting)
    return done


CHANGES: dict[str, dict[str, Any]] = {
    "one": {"state": "lost"},
    "several": {"version": 2, "label": "易碎", "at": datetime(2026, 1, 2, 3, 4, 5, 6, UTC)},
    "emptied": {"label": None, "maybe": None},
    "json": {"more": {"a": [None, "…"]}, "maybe": ["x"]},
    "bytes": {"seal": b"\0new"},
    "never read": {"large": "x" * 99},
    "as it was": {"label": "two", "more": MORE, "seal": b"\0\xff"},
    "some as it was": {"label": "two", "state": "moved"},
}


async def test_row_and_object_are_those_of_the_unit_of_work(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, alone: list[int]
) -> None:
    for form, changes in CHANGES.items():
        seen = []
        for few in (-1, 4):
            monkeypatch.setattr(row_sessions, "FEW", few)
            async with open_sessions(engine)() as session:
                seen.append(await _after(session, changes))
                await session.rollback()
        assert seen[0] == seen[1], form
    assert alone == [1] * (len(CHANGES) - 1), "all but what is as it was"


async def _after(session: AsyncSession, changes: dict[str, Any]) -> tuple[Any, Any]:
    """What object and table hold."""
    mine = await session.get_one(Crate, ("y", 2))
    for name, value in changes.items():
        setattr(mine, name, value)
    await session.flush()
    state = inspect(mine)
    assert state.persistent
    assert not state.modified
    assert not session.dirty
    held = {name: value for name, value in state.dict.items() if name[0] != "_"}
    table = Crate.__table__
    query = select(table, table.c.maybe.is_(None).label("no_maybe")).order_by("slot")
    return held, [dict(row) for row in (await session.execute(query)).mappings()]


async def test_old_and_new_go_together(sessions: Sessions) -> None:
    async with sessions() as session:
        one = await session.get_one(Crate, ("y", 1), with_for_update=True)
        # (The new one takes the label that the old one gives up.)
        one.label, one.version = "first", one.version + 1
        session.add(crate(3, label="one"))
        await session.commit()
    async with sessions() as session:
        found = await session.execute(select(Crate.label, Crate.version).order_by(Crate.place))
        assert found.all() == [("first", 2), ("two", 1), ("one", 1)]


async def test_a_row_that_is_gone_is_no_silent_success(sessions: Sessions) -> None:
    async with sessions() as session:
        mine = await session.get_one(Crate, ("y", 1))
        session.add(crate(3))
        async with sessions.begin() as other:
            await other.execute(delete(Crate).filter_by(place=1))
        mine.label = "changed"
        with pytest.raises(StaleDataError, match=r"'crate' expected to update 1 row.*0 were"):
            await session.commit()
    async with sessions() as session:
        assert (await session.scalars(select(Crate.place))).all() == [2]


async def test_a_savepoint_takes_back_its_own_and_no_more(sessions: Sessions) -> None:
    async with sessions() as session:
        mine = await session.get_one(Crate, ("y", 1))
        mine.version = 7
        await session.flush()

        async def again() -> None:
            async with session.begin_nested():
                mine.label = "two"
                await session.flush()

        with pytest.raises(IntegrityError):
            await again()
        await session.refresh(mine)
        assert (mine.label, mine.version) == ("one", 7)
        mine.label = "won"
        await session.commit()
    async with sessions() as session:
        mine = await session.get_one(Crate, ("y", 1))
        assert (mine.label, mine.version) == ("won", 7)


async def test_after_a_rollback_the_object_is_read_anew(sessions: Sessions) -> None:
    async with sessions() as session:
        mine = await session.get_one(Crate, ("y", 1))
        mine.label = "changed"
        await session.flush()
        await session.rollback()
        await session.refresh(mine)
        assert mine.label == "one"


async def test_rows_are_locked_by_their_keys(engine: AsyncEngine) -> None:
    sent: list[Any] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if statement.startswith("UPDATE"):
            sent.append(list(values))

    async with open_sessions(engine)() as session:
        two, one = (await session.scalars(select(Crate).order_by(Crate.place.desc()))).all()
        two.version, one.version = 3, 2
        await session.commit()
    assert sent == [[2, "y", 1], [3, "y", 2]]


async def _key(session: AsyncSession) -> None:
    (await session.get_one(Crate, ("y", 1))).place = 9


async def _expression(session: AsyncSession) -> None:
    (await session.get_one(Crate, ("y", 1))).label = func.upper("x")


async def _attribute(session: AsyncSession) -> None:
    (await session.get_one(Crate, ("y", 1))).label = Crate.state


async def _with_a_deletion(session: AsyncSession) -> None:
    (await session.get_one(Crate, ("y", 1))).label = "x"
    await session.delete(await session.get_one(Crate, ("y", 2)))


async def _more_than_few(session: AsyncSession) -> None:
    session.add_all([crate(place) for place in range(10, 11 + row_sessions.FEW)])
    await session.flush()
    for each in (await session.scalars(select(Crate))).all():
        each.version = 2


async def _stamped(session: AsyncSession) -> None:
    mine = await session.get_one(Stamped, "s")
    mine.note = "changed"
    await session.flush()
    await session.refresh(mine)
    assert mine.changed_at is not None


async def _counted(session: AsyncSession) -> None:
    mine = await session.get_one(Counted, "c")
    mine.note = "changed"
    await session.flush()
    assert mine.version == 2


async def _listened(session: AsyncSession) -> None:
    heard: list[Session] = []
    event.listen(session.sync_session, "before_flush", lambda now, *_: heard.append(now))
    (await session.get_one(Crate, ("y", 1))).label = "x"
    await session.flush()
    assert heard


UNIT_OF_WORK = [
    *(_key, _expression, _attribute, _with_a_deletion),
    *(_more_than_few, _stamped, _counted, _listened),
]


async def test_what_is_more_than_plain_is_for_the_unit_of_work(
    engine: AsyncEngine, alone: list[int]
) -> None:
    for work in UNIT_OF_WORK:
        async with open_sessions(engine)() as session:
            await work(session)
            await session.flush()
            assert alone == [], work
            await session.rollback()
    async with open_sessions(engine)() as session:
        (await session.get_one(Crate, ("y", 1))).version = 44
        await session.commit()
    assert alone == [1]
