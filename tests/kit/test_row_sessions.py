"""A session of the kit against SQLAlchemy's own, over any sequence of what people do with one: the
same rows, the same objects, the same errors."""

import gc
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
from sqlalchemy import ForeignKey, UniqueConstraint, inspect, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from kit.db import Document, Now, ServiceBase, new_metadata, open_engine
from kit.sessions import RowSession
from kit.testing import Ground


class Base(ServiceBase):
    metadata = new_metadata()


class Area(Base):
    __tablename__ = "area"
    id: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str | None] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(server_default="new")
    version: Mapped[int] = mapped_column(default=1)
    more: Mapped[Document]
    created_at: Mapped[Now]


class Box(Base):
    """Refers to an area, of which SQLAlchemy's unit of work knows nothing: it goes by the names of
    the classes."""

    __tablename__ = "box"
    area: Mapped[str] = mapped_column(ForeignKey("area.id"), primary_key=True)
    place: Mapped[int] = mapped_column("slot", primary_key=True)
    note: Mapped[str | None]
    __table_args__ = (UniqueConstraint("note"),)


SEQUENCES, LENGTH = 40, 30
KEYS: list[tuple[type[Any], Any]] = [
    *((Area, name) for name in ("a", "b", "c")),
    *((Box, (area, place)) for area in ("a", "b", "c") for place in (1, 2)),
]
VALUES: dict[str, list[Any]] = {
    "label": [None, "x", "y", "z"],
    "state": ["new", "old"],
    "version": [1, 2, 3],
    "more": [{}, {"k": [1, None]}, {"k": "街道"}],
    "note": [None, "m", "n"],
}
TABLES = ("id, label, state, version, more from area", "area, slot, note from box")
Act = tuple[str, *tuple[Any, ...]]
ERRORS = (SQLAlchemyError, StaleDataError, asyncpg.PostgresError)


def draw(rng: random.Random) -> Act:
    kind = rng.choices(
        ["get", "set", "add", "delete", "flush", "refresh", "expire", "let_go", "read",
         "commit", "rollback", "begin", "keep", "undo", "outside", "gone"],
        [14, 22, 8, 3, 10, 3, 3, 3, 4, 5, 2, 4, 3, 3, 5, 1],
    )[0]  # fmt: skip
    place = rng.randrange(len(KEYS))
    if kind == "get":
        return kind, place, rng.random() < 0.5, rng.random() < 0.2
    if kind in ("set", "add"):
        names = ("note",) if KEYS[place][0] is Box else ("label", "state", "version", "more")
        some = rng.sample(names, rng.randint(1, len(names)))
        return kind, place, {name: rng.choice(VALUES[name]) for name in some}
    return kind, place


@dataclass
class Player:
    """Does what it is told with one session on one database, and says what came of it."""

    engine: AsyncEngine
    kind: type[Session]
    other: asyncpg.Connection
    """Somebody else's, who does not wait long for a lock."""
    held: dict[int, Any] = field(default_factory=dict)
    savepoints: list[Any] = field(default_factory=list)

    async def play(self, acts: list[Act]) -> list[Any]:
        seen: list[Any] = []
        self.held.clear()
        self.savepoints.clear()
        async with AsyncSession(
            self.engine, sync_session_class=self.kind, expire_on_commit=False, autoflush=False
        ) as session:
            for name, place, *given in acts:
                act: Callable[..., Any] = getattr(self, name)
                try:
                    if name in ("outside", "gone"):
                        told = await act(place)
                    else:
                        told = await session.run_sync(act, place, *given)
                except ERRORS as error:
                    told = type(error).__name__
                seen.append((told, await session.run_sync(self.state)))
        rows = [await self.other.fetch(f"select {what} order by 1, 2") for what in TABLES]
        return [*seen, [[tuple(row) for row in table] for table in rows]]

    def state(self, session: Session) -> Any:
        """What every object that is held looks like."""
        found = {}
        for place, thing in sorted(self.held.items()):
            state = inspect(thing)
            known = {
                name: value is not None if name == "created_at" else value
                for name, value in state.dict.items()
                if name[0] != "_"
            }
            if state.transient:  # what a statement before the one that failed gave it is nobody's
                known = {}
            lacks = not known or sorted(state.unloaded)
            kind = state.persistent, state.pending, state.detached, state.deleted
            found[place] = known, lacks, kind, state.modified
        return found, len(session.new), len(session.dirty), session.in_transaction()

    def get(self, session: Session, place: int, lock: bool, anew: bool) -> bool:
        entity, key = KEYS[place]
        known = session.identity_map.get(
            inspect(entity).identity_key_from_primary_key(key if isinstance(key, tuple) else (key,))
        )
        # (Ours reads what is locked as it is then, see `kit.sessions`.)
        anew = anew or (lock and known is not None and not inspect(known).modified)
        how: dict[str, Any] = {"populate_existing": True} if anew else {}
        found = session.get(entity, key, with_for_update=lock or None, **how)
        if found is not None:
            self.held[place] = found
        return found is not None

    def set(self, session: Session, place: int, values: dict[str, Any]) -> None:
        if (thing := self.held.get(place)) is not None:
            for name, value in values.items():
                setattr(thing, name, value)

    def add(self, session: Session, place: int, values: dict[str, Any]) -> None:
        entity, key = KEYS[place]
        if entity is Area:
            thing: Any = Area(id=key, **{"more": {}, **values})
        else:
            thing = Box(area=key[0], place=key[1], **values)
        session.add(thing)
        self.held[place] = thing

    def delete(self, session: Session, place: int) -> None:
        if place in self.held:
            session.delete(self.held[place])

    def flush(self, session: Session, place: int) -> None:
        session.flush()

    def refresh(self, session: Session, place: int) -> None:
        if place in self.held:
            session.refresh(self.held[place])

    def expire(self, session: Session, place: int) -> None:
        if place in self.held:
            session.expire(self.held[place])

    def let_go(self, session: Session, place: int) -> None:
        self.held.pop(place, None)
        gc.collect()

    def read(self, session: Session, place: int) -> list[Any]:
        entity = KEYS[place][0]
        found = session.scalars(select(entity).order_by(*inspect(entity).primary_key)).all()
        return [inspect(thing).identity for thing in found]

    def commit(self, session: Session, place: int) -> None:
        self.savepoints.clear()
        session.commit()

    def rollback(self, session: Session, place: int) -> None:
        self.savepoints.clear()
        session.rollback()

    def begin(self, session: Session, place: int) -> None:
        self.savepoints.append(session.begin_nested())

    def keep(self, session: Session, place: int) -> None:
        if self.savepoints:
            self.savepoints.pop().commit()

    def undo(self, session: Session, place: int) -> None:
        if self.savepoints:
            self.savepoints.pop().rollback()

    async def outside(self, place: int) -> str:
        """Somebody else changes the row, unless it is locked."""
        entity, key = KEYS[place]
        if entity is Area:
            sql = "update area set version = version + 100 where id = $1"
            return str(await self.other.execute(sql, key))
        return str(await self.other.execute("update box set note = null where area = $1", key[0]))

    async def gone(self, place: int) -> str:
        entity, key = KEYS[place]
        if entity is Area:
            return str(await self.other.execute("delete from area where id = $1", key))
        return str(await self.other.execute("delete from box where area = $1 and slot = $2", *key))


@pytest.fixture
async def players(ground: Ground) -> AsyncIterator[list[Player]]:
    made = []
    for service, kind in (("helpdesk_svc", RowSession), ("catalog_svc", Session)):
        url = await ground.database(service)
        engine = open_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        plain = engine.url.set(drivername="postgresql", query={})
        other = await asyncpg.connect(
            plain.render_as_string(hide_password=False), server_settings={"lock_timeout": "20ms"}
        )
        made.append(Player(engine, kind, other))
    yield made
    for player in made:
        await player.other.close()
        await player.engine.dispose()


async def _begin_anew(player: Player) -> None:
    await player.other.execute("truncate area cascade")
    await player.other.execute(
        "insert into area (id, label, version, more) "
        "values ('a', 'x', 1, '{}'), ('b', null, 2, '{}'); "
        "insert into box (area, slot, note) values ('a', 1, 'm'), ('b', 2, null)"
    )


async def compare(players: list[Player], seed: int) -> tuple[list[Act], list[list[Any]]]:
    rng = random.Random(seed)
    acts = [draw(rng) for _ in range(LENGTH)]
    told = []
    for player in players:
        await _begin_anew(player)
        told.append(await player.play(acts))
    return acts, told


@pytest.fixture
def young() -> Iterator[None]:
    """A collection looks at what the test itself has made: all that a suite of tests has loaded
    would cost it a quarter of a second, each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
@pytest.mark.usefixtures("young")
async def test_whatever_is_done_both_sessions_end_alike(players: list[Player]) -> None:
    for seed in range(SEQUENCES):
        acts, (mine, theirs) = await compare(players, seed)
        for number, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            assert one == other, f"seed {seed}, after {acts[: number + 1]}"
