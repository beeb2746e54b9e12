"""A session that writes plain rows without the unit of work, and reads them by their keys.

A request that creates or changes something mostly flushes one to three objects of plain tables.
For those SQLAlchemy's unit of work sorts, groups and plans what is the same every time, at several
times the price of the statements themselves. `RowSession` writes them by statements that were
compiled once; in every other case (something deleted besides, many rows at once, SQL expressions
for values, relationships, inheritance, defaults that are called, listeners) the unit of work does
it, as ever. Either way the objects are the session's afterwards, with what the database gave them,
and a changed row that is not there any more raises `StaleDataError`.

So with `get`, mostly of a row that is locked for a step: where the session has no object of it yet
and nothing else is asked for, the row comes by a statement that was compiled once. Where it has
one, a row that is locked is read anew: SQLAlchemy would leave the object as it was read before,
perhaps before somebody else changed the row. (What was changed and not flushed stays.)
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table, inspect, util
from sqlalchemy.orm import InstanceState, Mapper, Session
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.sql import ClauseElement

from .driver import change, speak
from .gets import get_of, key_of
from .inserts import form_of, insert_of
from .updates import changes_of, update_of

FEW = 4
"""More rows than these are better sent together, which the unit of work does."""
MANY = "insert_many"
"""Key in `session.info`: every plain new row is inserted here, however many there are. (Rows go in
the order of their foreign keys, which the unit of work only knows of relationships.)"""
State = InstanceState[Any]
Changed = dict[State, dict[str, Any]]


class RowSession(Session):
    def flush(self, objects: Sequence[Any] | None = None) -> None:
        if objects is None and not self._flushing and not self._is_clean():
            self._write_plain()
        super().flush(objects)

    def get(self, entity: Any, ident: Any, **how: Any) -> Any:
        # (`with_for_update` waits for who holds the row, or says otherwise, which is no boolean.)
        lock = how.get("with_for_update")
        if lock and self._knows_unchanged(entity, ident):
            return super().get(entity, ident, **how | {"populate_existing": True})
        asked = {name for name, value in how.items() if value} - {"with_for_update"}
        if asked or lock not in (None, False, True) or self.autoflush or self._is_asked_about():
            return super().get(entity, ident, **how)
        mapper = inspect(entity)
        key = key_of(mapper, ident)
        if key is None or mapper.identity_key_from_primary_key(key) in self.identity_map:
            return super().get(entity, ident, **how)
        return self._get(mapper, key, lock=bool(lock))

    def _get(self, mapper: Mapper[Any], key: tuple[Any, ...], *, lock: bool) -> Any:
        """The row with this key, of which the session has no object yet."""
        connection = self.connection()
        statement = get_of(mapper, lock, connection.dialect)
        rows = speak(connection, statement.sql, statement.bind(key))
        if not rows:
            return None
        # As SQLAlchemy's own loading does it.
        instance = mapper.class_manager.new_instance()
        state: State = instance_state(instance)
        state.dict.update(statement.values(rows[0]))
        state.key = mapper._identity_key_from_state(state)
        state.session_id = self.hash_key
        self.identity_map.add(state)
        return instance

    def _knows_unchanged(self, entity: Any, ident: Any) -> bool:
        if isinstance(ident, dict):
            return False
        key = tuple(ident) if isinstance(ident, tuple | list) else (ident,)
        known = self.identity_map.get(inspect(entity).identity_key_from_primary_key(key))
        return known is not None and not instance_state(known).modified

    def _is_asked_about(self) -> bool:
        return bool(self.dispatch.do_orm_execute or self.dispatch.loaded_as_persistent)

    def plain_states(self) -> list[State]:
        """All that there is to flush, new rows, each after those that it refers to; nothing if it
        is for the unit of work."""
        if self._is_listened_to() or self._deleted or self.identity_map.check_modified():
            return []
        return sorted(self._new, key=_place) if self._new_is_plain() else []

    def _write_plain(self) -> None:
        """Write all that there is to flush, or nothing."""
        if self._is_listened_to() or self._deleted:
            return
        if len(self._new) > FEW and MANY not in self.info:
            return
        changed = self._changes()
        if changed is not None and self._new_is_plain():
            self._write(sorted([*changed, *self._new], key=_place), changed)

    def _is_listened_to(self) -> bool:
        return bool(
            self.dispatch.before_flush
            or self.dispatch.after_flush
            or self.dispatch.after_flush_postexec
        )

    def _new_is_plain(self) -> bool:
        for state in self._new:
            if state.key is not None or form_of(state.mapper) is None:
                return False
            if any(isinstance(value, ClauseElement) for value in state.dict.values()):
                return False
        return True

    def _changes(self) -> Changed | None:
        """Every object that was touched, with what differs. None: for the unit of work."""
        changed: Changed = {}
        if self.identity_map.check_modified():
            touched = list(self._dirty_states)
            if len(touched) > FEW:
                return None
            for state in touched:
                changes = changes_of(state)
                if changes is None:
                    return None
                changed[state] = changes
        return changed

    def _write(self, states: list[State], changed: Changed) -> None:
        try:
            connection = self.connection()
            for state in states:
                if state in changed:
                    _update(connection, state, changed[state])
                else:
                    _insert(connection, state)
            self._register_persistent(set(states))
        except BaseException:  # noqa: BLE001 - raised again after it
            with util.safe_reraise():
                # As after a flush that failed: the transaction, or its savepoint, is lost.
                self._autobegin_t()._begin().rollback(_capture_exception=True)


def _insert(connection: Connection, state: State) -> None:
    form = form_of(state.mapper)
    assert form is not None
    values = form.values(state.dict)
    statement = insert_of(state.mapper, tuple(values), connection.dialect)
    rows = speak(connection, statement.sql, statement.bind(values))
    statement.take(rows, state.dict)
    state.dict.update((name, values[name]) for name in form.defaults if name in values)


def _update(connection: Connection, state: State, changes: dict[str, Any]) -> None:
    if not changes:  # set to what it was
        return
    assert state.key is not None
    statement = update_of(state.mapper, tuple(sorted(changes)), connection.dialect)
    matched = change(connection, statement.sql, statement.bind(changes, state.key[1]))
    if matched != 1:
        raise StaleDataError(
            f"UPDATE statement on table '{state.mapper.local_table.description}' expected to "
            f"update 1 row(s); {matched} were matched."
        )


def _place(state: State) -> tuple[int, str, bool, Any]:
    """Tables in the order of their foreign keys; in each, rows that are there before new ones, by
    their keys, so that whoever changes the same rows locks them in the same order."""
    rank, name = _rank(state.mapper)
    if state.key is None:
        return rank, name, True, state.insert_order
    return rank, name, False, state.mapper._persistent_sortkey_fn(state)


@lru_cache(maxsize=1024)
def _rank(mapper: Mapper[Any]) -> tuple[int, str]:
    table = mapper.local_table
    assert isinstance(table, Table)
    return table.metadata.sorted_tables.index(table), mapper._sort_key
