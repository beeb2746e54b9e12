"""New rows by statements that were compiled once.

See `kit.sessions` for when they are used instead of SQLAlchemy's unit of work.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Dialect, Table, insert
from sqlalchemy.orm import ColumnProperty, Mapper

Process = Callable[[Any], Any] | None


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
    if mapper.dispatch.before_insert or mapper.dispatch.after_insert or mapper._delete_orphans:
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


@lru_cache(maxsize=4096)
def insert_of(mapper: Mapper[Any], names: tuple[str, ...], dialect: Dialect) -> Statement:
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
