"""What requests create, many requests' rows in one statement.

A creation that is worked out in memory (a draft, a ticket: new rows of plain tables, events, the
answer to its key) needs no transaction of its own, with a begin, four statements, a commit and a
sync. What is ready while one statement is under way goes out together in the next: it takes the
keys, and writes the rows, events and answers of those whose key was new. One statement is one
transaction, so each of them is kept whole or not at all, as ever; with one caller it is as quick
as any statement, with a hundred they share its price.

Nothing is decided here: whatever is not plainly kept (a key that is known or that somebody holds,
a row that is refused, a database that is away) goes back to its request, which then does it in a
transaction of its own and finds out why. Routes ask for it by `routing.Creating`.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg
from fastapi import Response
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Mapper

from . import crash, idempotency, outbox
from .idempotency import Claim
from .inserts import form_of
from .sessions import RowSession

if TYPE_CHECKING:
    from .runtime import Runtime

log = logging.getLogger(__name__)
SECONDS = 5.0
"""How long a statement may take, and a new connection."""
TOGETHER = 64
"""Creations in one statement, at most."""
PATIENCE_MS = 200
"""How long it waits for a key that another transaction holds. All its creations wait with it."""
_ROWS_EACH = 100
_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
_ASKED = "client text,route text,key text,fingerprint text,status int,headers jsonb,body bytea"
Kind = tuple[Mapper[Any], tuple[str, ...]]
"""Rows of one table of which the same columns are given."""


@dataclass(frozen=True, slots=True)
class Creation:
    """All that a request wants kept."""

    claim: Claim
    answer: tuple[int, str, bytes]
    rows: dict[Kind, list[dict[str, Any]]]
    events: list[outbox.Sealed]


def of(session: RowSession, claim: Claim, response: Response) -> Creation | None:
    """What this session, which has asked nothing of the database, is to keep. None if only the
    unit of work knows how."""
    if not 0 < len(session._new) <= _ROWS_EACH:
        return None
    rows: dict[Kind, list[dict[str, Any]]] = {}
    for state in session.plain_states():
        form = form_of(state.mapper)
        assert form is not None
        values = form.values(state.dict)
        kind = state.mapper, tuple(values)
        if _columns(kind) is None:
            return None
        rows.setdefault(kind, []).append(values)
    if not rows:
        return None
    return Creation(claim, idempotency.sealed(claim, response), rows, outbox.waiting(session))


async def kept_with_others(
    runtime: "Runtime", session: AsyncSession, claim: Claim, response: Response
) -> bool:
    """Whether all that the request did is kept now. If not, its own transaction is to do it."""
    now = session.sync_session
    if claim.taken or not isinstance(now, RowSession):
        return False
    creation = of(now, claim, response)
    if creation is None:
        return False
    crash.point("q1")
    if not crash.planted("answer_without_commit") and not await runtime.creations.keep(creation):
        return False
    crash.point("q2")
    outbox.forget(now)
    now.close()  # holds no connection; it wakes the relay
    return True


Waiting = tuple[Creation, "asyncio.Future[bool]"]


class Creations:
    """Keeps what the requests of one service create, over a connection of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        url = engine.url.set(drivername="postgresql", query={})
        self._url = url.render_as_string(hide_password=False)
        self._connection: asyncpg.Connection | None = None
        self._waiting: list[Waiting] = []
        self._keeping: asyncio.Task[None] | None = None

    def keep(self, creation: Creation) -> "asyncio.Future[bool]":
        """Whether it is kept, when awaited; False says nothing about why."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((creation, future))
        if self._keeping is None:
            # In no request's context: it works for all of them.
            work = self._work()
            self._keeping = asyncio.get_running_loop().create_task(work, context=Context())
        return future

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._drop()

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = self._next()
                kept: set[int] = set()
                try:
                    kept = await self._write([creation for creation, _ in batch])
                except Exception as error:  # noqa: BLE001 - each finds out for itself
                    log.info("creations go one by one: %s", type(error).__name__)
                    if not isinstance(error, asyncpg.PostgresError) or self._is_closed():
                        self._drop()
                finally:  # also when this is cancelled: nobody is left waiting
                    for place, (_, future) in enumerate(batch, 1):
                        if not future.done():
                            future.set_result(place in kept)
        finally:
            self._keeping = None

    def _next(self) -> list[Waiting]:
        """Those that wait and are of the same kinds as the first one. A key that is in it already
        waits for the next statement, to find out there that it is known."""
        first = tuple(self._waiting[0][0].rows)
        batch: list[Waiting] = []
        rest: list[Waiting] = []
        keys = set()
        for pair in self._waiting:
            creation, claim = pair[0], pair[0].claim
            key = claim.client, claim.route, claim.key
            if len(batch) < TOGETHER and tuple(creation.rows) == first and key not in keys:
                keys.add(key)
                batch.append(pair)
            else:
                rest.append(pair)
        self._waiting = rest
        return batch

    async def _write(self, batch: Sequence[Creation]) -> set[int]:
        """The places (from 1) of those that are kept."""
        kinds = tuple(batch[0].rows)
        if self._connection is None:
            self._connection = await asyncpg.connect(
                self._url,
                timeout=SECONDS,
                command_timeout=SECONDS,
                server_settings={"lock_timeout": f"{PATIENCE_MS}ms"},
            )
        rows = await self._connection.fetch(_statement(kinds), *_arguments(kinds, batch))
        if crash.planted("kept_unasked"):
            return set(range(1, len(batch) + 1))
        return {row["place"] for row in rows}

    def _is_closed(self) -> bool:
        return self._connection is not None and bool(self._connection.is_closed())

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    """Quoted where it must be."""
    type: str
    attribute: str
    process: Any


@lru_cache(maxsize=4096)
def _columns(kind: Kind) -> tuple[Column, ...] | None:
    """None where a column's values do not fit into an array each."""
    mapper, names = kind
    form = form_of(mapper)
    assert form is not None
    quote = _DIALECT.identifier_preparer.format_column
    found = []
    for name in names:
        column = form.columns[name]
        if isinstance(column.type, ARRAY):
            return None
        impl = column.type.dialect_impl(_DIALECT)
        type_ = column.type.compile(dialect=_DIALECT)
        found.append(Column(quote(column), type_, name, impl.bind_processor(_DIALECT)))
    return tuple(found)


@lru_cache(maxsize=1024)
def _statement(kinds: tuple[Kind, ...]) -> str:
    """Writes any number of creations of these kinds, and tells the places of those it wrote."""
    numbers = iter(range(1, 1 << 16))

    def given(name: str, columns: Sequence[str]) -> str:
        """Arguments as rows."""
        arrays = (f"${next(numbers)}::{column.partition(' ')[2]}[]" for column in columns)
        names = (column.partition(" ")[0] for column in columns)
        return f"unnest({', '.join(arrays)}) with ordinality as {name} ({', '.join(names)}, place)"

    parts = [
        f"asked as (select * from {given('asked', _ASKED.split(','))})",
        """claimed as (
            insert into idempotency_key (client, route, key, fingerprint, status, headers, body)
            select client, route, key, fingerprint, status, headers, body from asked
            order by client, route, key
            on conflict do nothing returning client, route, key)""",
        "mine as (select place as of from asked join claimed using (client, route, key))",
    ]
    for number, kind in enumerate(kinds):
        columns = _columns(kind)
        assert columns is not None
        table = _DIALECT.identifier_preparer.format_table(kind[0].local_table)
        named = [f"c{i} {column.type}" for i, column in enumerate(columns)]
        parts.append(
            f"""rows_{number} as (
            insert into {table} ({", ".join(column.name for column in columns)})
            select {", ".join(f"c{i}" for i in range(len(columns)))}
            from {given("given", ["of bigint", *named])} join mine using (of) order by place)"""
        )
    events = given("told", ["of bigint", "id uuid", "subject text", "body text"])
    parts.append(
        f"""events as (
            insert into outbox (id, subject, body)
            select id, subject, body from {events} join mine using (of) order by place)"""
    )
    return f"with {', '.join(parts)} select of as place from mine"


def _arguments(kinds: Sequence[Kind], batch: Sequence[Creation]) -> list[list[Any]]:
    claims = [creation.claim for creation in batch]
    arguments: list[list[Any]] = [
        [claim.client for claim in claims],
        [claim.route for claim in claims],
        [claim.key for claim in claims],
        [claim.fingerprint for claim in claims],
        *(list(part) for part in zip(*(creation.answer for creation in batch), strict=True)),
    ]
    for kind in kinds:
        rows = [(of, row) for of, each in enumerate(batch, 1) for row in each.rows[kind]]
        arguments.append([of for of, _ in rows])
        for column in _columns(kind) or ():
            values = [row[column.attribute] for _, row in rows]
            arguments.append([*map(column.process, values)] if column.process else values)
    told = [(of, event) for of, creation in enumerate(batch, 1) for event in creation.events]
    arguments += [
        [of for of, _ in told],
        [event.id for _, event in told],
        [event.subject for _, event in told],
        [event.body for _, event in told],
    ]
    return arguments
