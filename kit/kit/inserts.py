"""New rows without the unit of work.

A request that creates something mostly flushes one to three new objects of plain tables. For
those SQLAlchemy's unit of work sorts, groups and plans what is the same every time, at twice the
price of the statement itself. `RowSession` inserts them by a statement that was compiled once; in
every other case (something changed or deleted besides, many rows at once, SQL expressions for
values, relationships, inheritance, defaults that are called, listeners) the unit of work does it,
as ever. Either way the objects are the session's afterwards, with what the database gave them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Dialect, Table, insert, util
from sqlalchemy.orm import ColumnProperty, InstanceState, Mapper, Session
from sqlalchemy.sql import ClauseElement

from .driver import speak

FEW = 4
"""More rows than these are better sent together, which the unit of work does."""
MANY = "insert_many"
"""Key in `session.info`: every plain row is inserted here, however many there are. (Rows go in
the order of their foreign keys, which the unit of work only knows of relationships.)"""
Process = Callable[[Any], Any] | None


class RowSession(Session):
    def flush(self, objects: Sequence[Any] | None = None) -> None:
        few = len(self._new) <= FEW or MANY in self.info
        if objects is None and self._new and few and not self._flushing:
            states = self.plain_states()
            if states:
                self._insert(states)
        super().flush(objects)

    def plain_states(self) -> list[InstanceState[Any]]:
        """All that there is to flush, a row after those that it refers to; nothing if it is for
        the unit of work."""
        listened = self.dispatch.before_flush or self.dispatch.after_flush
        if listened or self._deleted or self.identity_map.check_modified():
            return []
        states = list(self._new)
        if not all(state.key is None and form_of(state.mapper) for state in states):
            return []
        for state in states:
            if any(isinstance(value, ClauseElement) for value in state.dict.values()):
                return []
        states.sort(key=lambda state: (*_rank(state.mapper), state.insert_order))
        return states

    def _insert(self, states: list[InstanceState[Any]]) -> None:
        try:
            connection = self.connection()
            for state in states:
                form = form_of(state.mapper)
                assert form is not None
                values = form.values(state.dict)
                statement = _statement(state.mapper, tuple(values), connection.dialect)
                rows = speak(connection, statement.sql, statement.bind(values))
                statement.take(rows, state.dict)
                state.dict.update((name, values[name]) for name in form.defaults if name in values)
            self._register_persistent(set(states))
        except BaseException:  # noqa: BLE001 - raised again after it
            with util.safe_reraise():
                # As after a flush that failed: the transaction, or its savepoint, is lost.
                self._autobegin_t()._begin().rollback(_capture_exception=True)


@dataclass(frozen=True)
class Form:
    """What is known of the rows of a class: by attribute, whose name may differ from its column."""

    columns: dict[str, Column[Any]]
    nulls: frozenset[str]
    """Left empty they are null; every other one is left out, so that its default holds."""
    jsons: frozenset[str]
    """None is a value of theirs (JSON's null)."""
    defaults: dict[str, Any]

    def values(self, given: dict[str, Any]) -> dict[str, Any]:
        values = {}
        for name in self.columns:
            if (value := given.get(name)) is not None:
                values[name] = value
            elif name in self.defaults:
                values[name] = self.defaults[name]
            elif name in self.nulls or (name in self.jsons and name in given):
                values[name] = None
        return values


@lru_cache(maxsize=1024)
def form_of(mapper: Mapper[Any]) -> Form | None:
    """None for a class that only the unit of work can insert."""
    table, columns = mapper.local_table, {}
    if not isinstance(table, Table):
        return None
    if mapper.inherits or mapper.polymorphic_on is not None or mapper.version_id_col is not None:
        return None
    if mapper.dispatch.before_insert or mapper.dispatch.after_insert:
        return None
    for name, attribute in mapper.attrs.items():
        if not isinstance(attribute, ColumnProperty) or len(attribute.columns) != 1:
            return None
        column = attribute.columns[0]
        if not isinstance(column, Column) or column.table is not table:
            return None
        if column.default is not None and not column.default.is_scalar:
            return None
        columns[name] = column
    if len(columns) != len(table.columns):
        return None
    jsons = {name for name, column in columns.items() if column.type.should_evaluate_none}
    return Form(
        columns,
        frozenset(
            name
            for name, column in columns.items()
            if not column.primary_key and column.server_default is None and name not in jsons
        ),
        frozenset(jsons),
        {name: c.default.arg for name, c in columns.items() if c.default is not None},  # type: ignore[attr-defined]
    )


@dataclass(frozen=True)
class Statement:
    sql: str
    binds: tuple[tuple[str, Process], ...]
    given: tuple[tuple[str, Process], ...]

    def bind(self, values: dict[str, Any]) -> list[Any]:
        return [process(values[n]) if process else values[n] for n, process in self.binds]

    def take(self, rows: Sequence[Any], into: dict[str, Any]) -> None:
        for row in rows:
            for (name, process), value in zip(self.given, row, strict=True):
                into[name] = process(value) if process else value


@lru_cache(maxsize=1024)
def _rank(mapper: Mapper[Any]) -> tuple[int, str]:
    table = mapper.local_table
    assert isinstance(table, Table)
    return table.metadata.sorted_tables.index(table), mapper._sort_key


@lru_cache(maxsize=4096)
def _statement(mapper: Mapper[Any], names: tuple[str, ...], dialect: Dialect) -> Statement:
    """The insert of a row with these attributes, which gives back what the database chose."""
    form = form_of(mapper)
    assert form is not None
    by_key = {column.key: name for name, column in form.columns.items()}
    chosen = [
        (name, column)
        for name, column in form.columns.items()
        if name not in names and (column.server_default is not None or column.primary_key)
    ]
    made: Any = insert(mapper.class_.__table__)
    if chosen:
        made = made.returning(*(column for _, column in chosen))
    compiled: Any = made.compile(
        dialect=dialect, column_keys=[form.columns[name].key for name in names]
    )
    binds = [by_key[key] for key in compiled.positiontup or ()]
    impls = {name: form.columns[name].type.dialect_impl(dialect) for name in form.columns}
    return Statement(
        str(compiled),
        tuple((name, impls[name].bind_processor(dialect)) for name in binds),
        tuple((name, impls[name].result_processor(dialect, None)) for name, _ in chosen),
    )
