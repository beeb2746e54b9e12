"""Which versions run: of the code, and of the database's tables against what the code expects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

_REVISION = re.compile(r'^revision(?:: str)? = "([^"]+)"', re.MULTILINE)
_DOWN = re.compile(r'^down_revision(?:: [^=]+)? = "([^"]+)"', re.MULTILINE)
_NO_TABLE = "42P01"


def _installed() -> str:
    try:
        return metadata.version("one-beam")
    except metadata.PackageNotFoundError:
        return "source"


BEAM = _installed()
"""Version of the installed package; `source` when it runs from a folder."""


@dataclass(frozen=True)
class Migrations:
    """The versions that the code of one service knows, read without Alembic."""

    before: Mapping[str, str | None]
    """Each version and the one before it."""

    @classmethod
    def of(cls, package: str) -> "Migrations":
        folder = Path(import_module(package).__path__[0]) / "migrations"
        before: dict[str, str | None] = {}
        for file in sorted(folder.glob("*.py")):
            source = file.read_text()
            if found := _REVISION.search(source):
                down = _DOWN.search(source)
                before[found.group(1)] = down.group(1) if down else None
        return cls(before)

    @property
    def head(self) -> str | None:
        """The newest version; None when the package has no tables."""
        heads = set(self.before) - set(self.before.values())
        return max(heads) if heads else None

    def lacking(self, database: str | None) -> str | None:
        """Why the code cannot work on a database of this version; None when it can. A database
        that is ahead is no reason: migrations expand before they contract."""
        if database == self.head or (database is not None and database not in self.before):
            return None
        return f"migrations: database at {database or 'nothing'}, code at {self.head}"


async def of_database(connection: AsyncConnection) -> str | None:
    """The version of the database's tables; None when it was never migrated."""
    try:
        version: str | None = await connection.scalar(
            text("select version_num from alembic_version")
        )
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != _NO_TABLE:
            raise
        return None
    return version
