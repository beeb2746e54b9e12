"""Migrations of a database that is in use: nobody waits for one that waits."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from kit import migrate
from kit.testing import SCHEME, Ground

MODELS = """
from sqlalchemy import MetaData
class Base:
    metadata = MetaData()
"""
FIRST = """
from alembic import op
revision = "0001"
down_revision = None
def upgrade():
    op.execute("create table thing (id int primary key)")
    op.execute("insert into thing select generate_series(1, 100)")
"""
SECOND = """
from alembic import op
revision = "0002"
down_revision = "0001"
def upgrade():
    op.execute("alter table thing add column note text")
"""
Package = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Makes the package of a service with these migrations; its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, *migrations: str) -> str:
        folder = tmp_path / name / "migrations"
        folder.mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "models.py").write_text(MODELS)
        for number, source in enumerate(migrations):
            (folder / f"{number + 1:04d}_some.py").write_text(source)
        sys.modules.pop(name, None)
        return name

    return make


async def database(ground: Ground, name: str) -> str:
    """An empty one."""
    admin = create_async_engine(
        ground.postgres.dsn("postgres", scheme=SCHEME), isolation_level="AUTOCOMMIT"
    )
    async with admin.connect() as connection:
        await connection.execute(text(f'create database "{name}"'))
    await admin.dispose()
    return ground.postgres.dsn(name, scheme=SCHEME)


async def in_use(ground: Ground, package: str) -> str:
    """A database at the package's first version."""
    url = await database(ground, package)
    await asyncio.to_thread(command.upgrade, migrate.config_for(package, url), "0001")
    return url


async def version(connection: AsyncConnection) -> str:
    found = await connection.scalar(text("select version_num from alembic_version"))
    await connection.rollback()
    return str(found)


async def test_who_waits_for_a_lock_makes_nobody_else_wait(ground: Ground, package: Package):
    name = package("waiting_svc", FIRST, SECOND)
    url = await in_use(ground, name)
    engine = create_async_engine(url)
    async with engine.connect() as long, engine.connect() as other:
        await long.execute(text("select count(*) from thing"))  # and does not end
        running = asyncio.create_task(asyncio.to_thread(migrate.upgrade, name, url))
        for _ in range(3):  # through, while the migration tries again and again
            waits = "select count(*) from pg_locks where not granted"
            while not await other.scalar(text(waits)):
                await other.rollback()
                await asyncio.sleep(0.01)
            await asyncio.wait_for(other.execute(text("select count(*) from thing")), 30)
            await other.rollback()
        assert not running.done()
        await long.rollback()
        await running
        assert await version(other) == "0002"
        await other.execute(text("select note from thing"))
    await engine.dispose()


async def test_who_would_hold_a_lock_too_long_is_refused_and_nothing_is_done(
    ground: Ground, package: Package, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(migrate, "PAUSES", (0.1,))
    slow = SECOND + '    op.execute("select pg_sleep(60)")\n'
    name = package("holding_svc", FIRST, slow)
    url = await in_use(ground, name)
    with pytest.raises(migrate.Busy, match="holding_svc"):
        await asyncio.to_thread(migrate.upgrade, name, url)
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        assert await version(connection) == "0001"
        columns = "select count(*) from information_schema.columns where table_name = 'thing'"
        assert await connection.scalar(text(columns)) == 1
    await engine.dispose()


async def test_an_index_takes_its_time_beside_the_work(ground: Ground, package: Package):
    name = package(
        "indexed_svc",
        FIRST,
        SECOND
        + "    with op.get_context().autocommit_block():\n"
        + '        op.execute("select pg_sleep(1.5)")\n'
        + '        op.execute("create index concurrently thing_note on thing (note)")\n',
    )
    url = await in_use(ground, name)
    await asyncio.to_thread(migrate.upgrade, name, url)
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        assert await version(connection) == "0002"
        found = "select indisvalid from pg_index where indexrelid = 'thing_note'::regclass"
        assert await connection.scalar(text(found)) is True
    await engine.dispose()


async def test_an_older_version_leaves_a_newer_database_as_it_is(ground: Ground, package: Package):
    newer, older = package("newer_svc", FIRST, SECOND), package("older_svc", FIRST)
    url = await in_use(ground, newer)
    await asyncio.to_thread(migrate.upgrade, newer, url)
    await asyncio.to_thread(migrate.upgrade, older, url)
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        assert await version(connection) == "0002"
    await engine.dispose()
