"""A PostgreSQL that lives as long as a `with` block, for writing migrations."""

import contextlib
from collections.abc import Iterator

from .postgres import PostgresServer


@contextlib.contextmanager
def temporary_database() -> Iterator[str]:
    """A throw-away PostgreSQL, for writing migrations."""
    with PostgresServer.temporary() as server:
        yield server.dsn("postgres", scheme="postgresql+asyncpg")
