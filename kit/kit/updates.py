"""Changed rows by statements that were compiled once, as `kit.inserts` writes new ones.

See `kit.sessions` for when they are used instead of SQLAlchemy's unit of work.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Dialect, bindparam, update
from sqlalchemy.orm import InstanceState, Mapper
from sqlalchemy.sql import ClauseElement

from .inserts import Process, form_of


def changes_of(state: InstanceState[Any]) -> dict[str, Any] | None:
    """What differs from the row as it was read, by attribute: nothing, perhaps. None where only
    the unit of work knows how to write it: another key, SQL expressions, values that were taken
    away, and the classes of which `_is_plain` says so."""
    if not _is_plain(state.mapper):
        return None
    changes, held, manager = {}, state.dict, state.manager
    for name, before in state.committed_state.items():
        if name not in held or name in state.mapper._primary_key_propkeys:
            return None
        value = held[name]
        if isinstance(value, ClauseElement) or hasattr(value, "__clause_element__"):
            return None
        if manager[name].impl.is_equal(value, before) is not True:
            changes[name] = value
    return changes


@lru_cache(maxsize=1024)
def _is_plain(mapper: Mapper[Any]) -> bool:
    """One table, no version that SQLAlchemy counts (see `form_of`), nothing that an update sets
    or calls besides."""
    form = form_of(mapper)
    if form is None or mapper.dispatch.before_update or mapper.dispatch.after_update:
        return False
    columns = form.columns.values()
    return all(each.onupdate is None and each.server_onupdate is None for each in columns)


@dataclass(frozen=True)
class Update:
    sql: str
    binds: tuple[tuple[str | int, Process], ...]
    """An attribute, or the place of a column in the key."""

    def bind(self, changes: dict[str, Any], key: tuple[Any, ...]) -> list[Any]:
        bound = []
        for name, process in self.binds:
            value = key[name] if isinstance(name, int) else changes[name]
            bound.append(process(value) if process else value)
        return bound


@lru_cache(maxsize=4096)
def update_of(mapper: Mapper[Any], names: tuple[str, ...], dialect: Dialect) -> Update:
    """The update of these attributes of the row that has a key."""
    form = form_of(mapper)
    assert form is not None
    types = {form.columns[name].key: (name, form.columns[name].type) for name in names}
    made = update(mapper.class_.__table__)
    for place, column in enumerate(mapper.primary_key):
        made = made.where(column == bindparam(f"key {place}", type_=column.type))
        types[f"key {place}"] = (place, column.type)  # type: ignore[assignment]
    compiled: Any = made.compile(
        dialect=dialect, column_keys=[form.columns[name].key for name in names]
    )
    binds = [types[key] for key in compiled.positiontup or ()]
    return Update(
        str(compiled),
        tuple((name, type_.dialect_impl(dialect).bind_processor(dialect)) for name, type_ in binds),
    )
