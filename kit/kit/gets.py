"""One row by its key, by a statement that was compiled once, as `kit.inserts` writes new ones.

See `kit.sessions` for when it is used instead of SQLAlchemy's way, which plans a query anew for
every row that is fetched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Dialect, Float, Numeric, bindparam, select
from sqlalchemy.orm import Mapper

from .inserts import Form, Process, form_of


@dataclass(frozen=True)
class Get:
    sql: str
    binds: tuple[tuple[int, Process], ...]
    """Places in the key."""
    columns: tuple[tuple[str, Process], ...]

    def bind(self, key: tuple[Any, ...]) -> list[Any]:
        return [process(key[place]) if process else key[place] for place, process in self.binds]

    def values(self, row: Sequence[Any]) -> dict[str, Any]:
        return {
            name: process(value) if process else value
            for (name, process), value in zip(self.columns, row, strict=True)
        }


def key_of(mapper: Mapper[Any], ident: Any) -> tuple[Any, ...] | None:
    """The key in the order of its columns. None where that is for SQLAlchemy to find out, or the
    class for it to load."""
    if not _is_plain(mapper) or isinstance(ident, dict):
        return None
    key = tuple(ident) if isinstance(ident, tuple | list) else (ident,)
    return key if len(key) == len(mapper.primary_key) and None not in key else None


@lru_cache(maxsize=1024)
def _is_plain(mapper: Mapper[Any]) -> bool:
    """One table that is read whole (see `form_of`), and nothing that is called for what is read."""
    form = form_of(mapper)
    listened = mapper.class_manager.dispatch
    if form is None or listened.load or listened.refresh or mapper.always_refresh:
        return False
    # (How a numeric is read depends on the type that the database tells with the rows.)
    if any(isinstance(column.type, Numeric | Float) for column in form.columns.values()):
        return False
    return not any(mapper.attrs[name].deferred for name in form.columns)


@lru_cache(maxsize=1024)
def get_of(mapper: Mapper[Any], lock: bool, dialect: Dialect) -> Get:
    form: Form | None = form_of(mapper)
    assert form is not None
    made = select(*form.columns.values())
    for place, column in enumerate(mapper.primary_key):
        made = made.where(column == bindparam(str(place), type_=column.type))
    if lock:
        made = made.with_for_update()
    compiled: Any = made.compile(dialect=dialect)
    keys = [column.type.dialect_impl(dialect) for column in mapper.primary_key]
    impls = {name: column.type.dialect_impl(dialect) for name, column in form.columns.items()}
    return Get(
        str(compiled),
        tuple(
            (int(place), keys[int(place)].bind_processor(dialect))
            for place in compiled.positiontup or ()
        ),
        tuple((name, impl.result_processor(dialect, None)) for name, impl in impls.items()),
    )
