"""One Alembic environment for every service.

`python -m kit.migrate revision case_svc "first tables"` writes the next version from the models;
`python -m kit.migrate upgrade case_svc URL` brings a database up to date. After each upgrade the
running role gets its rights: read and write on tables, insert and read only where append-only.

A database that is in use stays in use: each migration is a transaction of its own that waits for a
lock no longer than LIMITS say, gives it back as soon, and is tried again when it got none. What
takes longer by nature (an index on a table that is there) goes into `op.get_context()
.autocommit_block()` with `postgresql_concurrently=True`. Migrations only ever add; one that takes
away says so in a line `CONTRACT = "why, and since which version nothing needs it"`.
"""

import asyncio
import importlib
import sys
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from . import audit, deadletters, inbox, outbox  # noqa: F401  (their tables join KitBase.metadata)
from .db import KitBase
from .seals import blocks  # noqa: F401
from .versions import Migrations, of_database

LIMITS = {"lock_timeout": "500ms", "transaction_timeout": "1s"}
"""Of a migration's transaction, on a database that is in use. (PostgreSQL 17 knows the second.)"""
PAUSES = (0.2, 0.5, 1, 2, 4, 8, 8, 8, 8)
"""Seconds between attempts while others hold what a migration needs."""
_BUSY = {"55P03", "25P04", "08003"}
"""No lock within the time; the transaction took longer than its time, which ends the connection."""


class Busy(Exception):
    """A migration did not get its lock, or took longer than it may hold one."""


def config_for(package: str, database_url: str = "") -> Config:
    models = importlib.import_module(f"{package}.models")
    versions = Path(models.__file__ or "").parent / "migrations"
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(versions))
    config.set_main_option("path_separator", "os")
    config.attributes.update(
        metadata=[KitBase.metadata, models.Base.metadata], database_url=database_url, limits={}
    )
    return config


def head(package: str) -> str | None:
    """The newest version that the code knows."""
    return ScriptDirectory.from_config(config_for(package)).get_current_head()


def upgrade(package: str, owner_url: str, runtime_role: str | None = None) -> None:
    """Migrate to head as the owner, then give `runtime_role` its rights. A database that is ahead
    of this code (after going back to an older version) stays as it is. Runs its own event loop:
    from asynchronous code call it with `asyncio.to_thread`. Raises Busy."""
    config = config_for(package, owner_url)
    found = asyncio.run(_version(owner_url))
    if found is None:
        command.upgrade(config, "head")
    elif found in Migrations.of(package).before:
        config.attributes["limits"] = LIMITS
        _climb(package, config)
    if runtime_role:
        asyncio.run(_grant(owner_url, runtime_role, config.attributes["metadata"]))


def _climb(package: str, config: Config) -> None:
    for pause in (*PAUSES, None):
        try:
            command.upgrade(config, "head")
        except DBAPIError as problem:
            if getattr(problem.orig, "sqlstate", None) not in _BUSY:
                raise
            if pause is None:
                raise Busy(f"{package}: {problem.orig}") from problem
            time.sleep(pause)
        else:
            return


async def _version(url: str) -> str | None:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return await of_database(connection)
    finally:
        await engine.dispose()


async def _grant(owner_url: str, role: str, metadata: list[MetaData]) -> None:
    statements = [
        f'grant usage on schema public to "{role}"',
        f'grant select, insert, update, delete on all tables in schema public to "{role}"',
        f'grant usage, select on all sequences in schema public to "{role}"',
        f'revoke insert, update, delete on alembic_version from "{role}"',
    ]
    statements += [
        f'revoke update, delete, truncate on "{table.name}" from "{role}"'
        for part in metadata
        for table in part.tables.values()
        if table.info.get("append_only")
    ]
    engine = create_async_engine(owner_url)
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


def revision(package: str, message: str, database_url: str) -> None:
    """Write the next version file by comparing the models with a database at head."""
    config = config_for(package, database_url)
    command.upgrade(config, "head")
    count = len(list(ScriptDirectory.from_config(config).walk_revisions()))
    versions = config.get_main_option("version_locations")
    command.revision(
        config,
        message,
        autogenerate=True,
        rev_id=f"{count + 1:04d}",
        head="head",
        version_path=versions,
    )


def main(arguments: list[str]) -> None:
    match arguments:
        case ["upgrade", package, url]:
            upgrade(package, url)
        case ["revision", package, message]:
            from .embedded.scratch import temporary_database

            with temporary_database() as url:
                revision(package, message, url)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
