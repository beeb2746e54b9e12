"""Reads by a key, many requests' keys in one statement.

For a read that takes no lock and needs no transaction: a licence by its number, a case by its id.
What requests ask while a statement is under way goes out together in the next one, which is
`… where id = any($1)`: with one caller it is as quick as any statement, with a hundred they share
it. Every answer was read after its question came; nothing is kept. Who locks, writes, or filters
by more than one key takes the `Session`, as ever.

```
CASE = Lookup(select(Case), by=Case.id)

@routes.get("/{case_id}")
async def get_case(caller: Applicant, lookups: Lookups, case_id: str) -> CaseOut:
    case = await lookups.one(CASE, case_id)
    if case is None or case.applicant_id != caller.subject: …
```
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from contextvars import Context
from typing import Annotated, Any, Generic, TypeVar, overload

import asyncpg
from fastapi import Depends, Request
from sqlalchemy import Select, any_, literal_column
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from . import crash
from .errors import database_away

log = logging.getLogger(__name__)
SECONDS = 5.0
"""How long a statement may take, and a new connection."""
_KEY = "lookup_key"
# Not the question's fault: the connection is gone, or the server sends us away (classes of
# SQLSTATE as in kit.consumers). (InternalClientError: it said so before the question came.)
_GONE = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_NOT_NOW = ("08", "53", "57")
R = TypeVar("R", covariant=True)
Waiting = dict[Any, list[asyncio.Future[Sequence[Any]]]]


class Lookup(Generic[R]):
    """`query` without the condition on its key, which is the column `by`. Its rows have the
    attributes of what it selects (a model's columns, without its deferred ones) and cannot be
    changed. An `order_by` holds among the rows of one key."""

    @overload
    def __init__(self, query: Select[R], *, by: Any) -> None: ...
    @overload
    def __init__(self: "Lookup[Any]", query: Any, *, by: Any) -> None: ...
    def __init__(self, query: Any, *, by: Any) -> None:
        keys = any_(literal_column("$1"))
        self._query: Any = query.add_columns(by.label(_KEY)).where(by == keys)
        self._sql: str | None = None

    @property
    def sql(self) -> str:
        if self._sql is None:
            compiled = self._query.compile(
                dialect=PGDialect_asyncpg(),  # type: ignore[no-untyped-call]
                compile_kwargs={"literal_binds": True},
            )
            self._sql = str(compiled)
        return self._sql


class Row(asyncpg.Record):  # type: ignore[misc]
    """A row whose columns are attributes."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Reader:
    """Answers the lookups of one service over a connection of its own, which can only read."""

    def __init__(self, engine: AsyncEngine) -> None:
        url = engine.url.set(drivername="postgresql", query={})
        self._url = url.render_as_string(hide_password=False)
        self._connection: asyncpg.Connection | None = None
        self._waiting: dict[Lookup[Any], Waiting] = {}
        self._asking: asyncio.Task[None] | None = None

    def all(self, lookup: Lookup[R], key: Any) -> "asyncio.Future[Sequence[R]]":
        """Every row under this key, when awaited. Raises Unavailable (503), or whatever the
        database has against this very key. Several can be asked for before the first is awaited:
        they are read in one go."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(lookup, {}).setdefault(key, []).append(future)
        if self._asking is None:
            # In no request's context: it asks for all of them.
            self._asking = asyncio.get_running_loop().create_task(self._ask(), context=Context())
        return future

    async def one(self, lookup: Lookup[R], key: Any) -> R | None:
        """The (first) row under this key, if there is one. Raises as `all`."""
        rows = await self.all(lookup, key)
        return rows[0] if rows else None

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        self._give_up()

    async def _ask(self) -> None:
        try:
            while self._waiting:
                lookup = next(iter(self._waiting))
                await self._answer(lookup, self._waiting.pop(lookup))
        finally:
            self._asking = None

    async def _answer(self, lookup: Lookup[Any], waiting: Waiting) -> None:
        try:
            rows = await self._fetch(lookup.sql, list(waiting))
        except asyncio.CancelledError:
            self._give_up(waiting)
            raise
        except Exception as error:  # noqa: BLE001 - told to those whose question it was
            if _is_gone(error):
                log.warning("lookups have no database: %s", type(error).__name__)
                self._give_up(waiting)
            elif len(waiting) == 1:
                for future in next(iter(waiting.values())):
                    _refuse(future, error)
            else:  # one of the keys is to blame: each by itself
                for key, futures in waiting.items():
                    await self._answer(lookup, {key: futures})
            return
        found: defaultdict[Any, list[Any]] = defaultdict(list)
        for row in rows:
            found[row[_KEY]].append(row)
        answered = list(waiting)
        if crash.planted("lookup_crossed"):
            answered = [*answered[1:], answered[0]]
        for key, futures in zip(answered, waiting.values(), strict=True):
            for future in futures:
                if not future.done():  # who asked may have gone
                    future.set_result(found.get(key, ()))

    async def _fetch(self, sql: str, keys: list[Any]) -> list[Any]:
        if self._connection is not None:
            try:
                return await self._connection.fetch(sql, keys)  # type: ignore[no-any-return]
            except Exception as error:
                # One that broke while nobody used it is no reason to refuse anybody.
                if not _is_gone(error) or isinstance(error, TimeoutError):
                    raise
                self._drop()
        self._connection = await self._connect()
        return await self._connection.fetch(sql, keys)  # type: ignore[no-any-return]

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(
            self._url,
            timeout=SECONDS,
            command_timeout=SECONDS,
            record_class=Row,
        )
        await connection.execute("set default_transaction_read_only = on")
        for kind in ("json", "jsonb"):
            await connection.set_type_codec(
                kind, schema="pg_catalog", encoder=json.dumps, decoder=json.loads
            )
        return connection

    def _give_up(self, *more: Waiting) -> None:
        """Who waits for other lookups would only find the same, later."""
        self._drop()
        waiting, self._waiting = (*self._waiting.values(), *more), {}
        for each in waiting:
            for futures in each.values():
                for future in futures:
                    _refuse(future, database_away())

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def _is_gone(error: Exception) -> bool:
    state = str(getattr(error, "sqlstate", None) or "")
    return isinstance(error, _GONE) or state.startswith(_NOT_NOW)


def _refuse(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # who asked may have been answered without it


async def _lookups(request: Request) -> Reader:
    runtime = request.app.state.runtime
    if runtime.database.away:
        raise database_away()
    reader: Reader = runtime.lookups
    return reader


Lookups = Annotated[Reader, Depends(_lookups)]
