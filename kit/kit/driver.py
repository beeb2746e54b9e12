"""Statements that are spoken to the driver as they stand.

What every creation says (its key, its row, its events, its answer) is known beforehand. Going
through SQLAlchemy's statements, contexts and results costs such a statement more than the
database takes to carry it out. The transaction is the session's own all the same, errors are
SQLAlchemy's, and who listens before statements hears these, too.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection


def speak(connection: Connection, sql: str, values: Sequence[Any]) -> Sequence[Any]:
    """The rows of one statement with `$1`, `$2` … in it, within the transaction of `connection`
    (as `session.connection()` gives it, within `run_sync`). Raises `sqlalchemy.exc.DBAPIError`."""
    return _say(connection, sql, values)[0]


def change(connection: Connection, sql: str, values: Sequence[Any]) -> int:
    """As `speak`: how many rows the statement changed."""
    return _say(connection, sql, values)[1]


def _say(connection: Connection, sql: str, values: Sequence[Any]) -> tuple[Sequence[Any], int]:
    cursor: Any = connection.connection.cursor()
    dialect: Any = connection.dialect
    # As in SQLAlchemy's executions: statements that were prepared before the last change of the
    # schema that anybody met are prepared anew.
    cursor._invalidate_schema_cache_asof = dialect._invalidate_schema_cache_asof
    try:
        if connection._has_events or connection.engine._has_events:
            for listener in connection.dispatch.before_cursor_execute:
                listener(connection, cursor, sql, values, None, False)
        cursor.execute(sql, values)
        return cursor.fetchall(), cursor.rowcount
    except BaseException as error:  # noqa: BLE001 - raised again by what it is given to
        if isinstance(
            error, (dialect.dbapi.InvalidCachedStatementError, dialect.dbapi.InternalServerError)
        ):
            dialect._invalidate_schema_cache()
        # What SQLAlchemy itself does then: it translates, and gives up a connection that is gone
        # or whose statement was cancelled.
        connection._handle_dbapi_exception(error, None, None, cursor, None)
    finally:
        cursor.close()
