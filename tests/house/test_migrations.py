"""Migrations only ever add, so that the version before runs on beside the new one."""

import ast
import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from kit import migrate
from kit.testing import SCHEME, Ground

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    file
    for file in ROOT.glob("*-svc/*/migrations/0*.py")
    if "down_revision = None" not in file.read_text()
)
PACKAGES = sorted({file.parents[1].name for file in FILES})
ADDING = {"create_table", "create_index", "add_column", "alter_column", "execute", "get_context",
          "bulk_insert", "f", "inline_literal"}  # fmt: skip
TAKES_AWAY = re.compile(
    r"\b(drop\s+(?!function|trigger|constraint\s+if\s+exists)|rename\b|truncate\b|delete\s+from\b"
    r"|set\s+not\s+null\b|alter\s+column\s+\w+\s+(set\s+data\s+)?type\b)",
    re.IGNORECASE,
)
BLOCKS_WRITERS = re.compile(r"\bcreate\s+(unique\s+)?index\s+(?!concurrently)", re.IGNORECASE)


def complaints(source: str) -> Iterator[str]:
    """What a migration does that a running program of the version before would not survive."""
    tree = ast.parse(source)
    if any(
        isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "CONTRACT" for n in tree.body
    ):
        return
    body = [
        node
        for part in tree.body
        if not (isinstance(part, ast.FunctionDef) and part.name == "downgrade")
        and not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        for node in ast.walk(part)
    ]
    calls = [
        (node.func.attr, node)
        for node in body
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "op"
    ]
    fresh = {ast.unparse(node.args[0]) for name, node in calls if name == "create_table"}
    for name, node in calls:
        given = {k.arg: ast.unparse(k.value) for k in node.keywords}
        shown = ast.unparse(node)[:90]
        if name not in ADDING:
            yield f"op.{name} takes away or holds up writers: {shown}"
        elif name == "add_column" and ast.unparse(node.args[0]) not in fresh:
            column = ast.unparse(node.args[1])
            if "nullable=False" in column and "server_default" not in column:
                yield f"the version before does not fill this column: {shown}"
        elif name == "alter_column" and not (
            given.get("nullable") == "True" or "server_default" in given
        ):
            yield f"a column changes under the version before: {shown}"
        elif (
            name == "create_index"
            and ast.unparse(node.args[1]) not in fresh
            and given.get("postgresql_concurrently") != "True"
        ):
            yield f"postgresql_concurrently=True in an autocommit_block, please: {shown}"
    for node in body:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if found := TAKES_AWAY.search(node.value):
                yield f"SQL takes away: {found[0]} …"
            if found := BLOCKS_WRITERS.search(node.value):
                table = re.search(r"\bon\s+(\w+)", node.value[found.end() :], re.IGNORECASE)
                if table is None or f"'{table[1]}'" not in fresh:
                    yield f"SQL holds up writers: {found[0]} …"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parents[1].name}-{f.stem}")
def test_a_migration_adds_or_says_why_it_may_take_away(file: Path) -> None:
    assert list(complaints(file.read_text())) == []


@pytest.mark.parametrize(
    "line",
    [
        'op.drop_column("a", "b")',
        'op.rename_table("a", "b")',
        'op.add_column("a", sa.Column("b", sa.String(), nullable=False))',
        'op.alter_column("a", "b", nullable=False)',
        'op.create_index("i", "a", ["b"])',
        'op.create_unique_constraint("u", "a", ["b"])',
        'op.execute("drop table a")',
        'op.execute("alter table a alter column b type bigint")',
        'op.execute("create unique index i on a (b)")',
    ],
)
def test_what_takes_away_is_seen(line: str) -> None:
    upgrade = f"def upgrade():\n    {line}\n"
    assert list(complaints(upgrade))
    assert not list(complaints(f'CONTRACT = "nothing reads b since 0.2"\n{upgrade}'))
    assert not list(complaints(f"def downgrade():\n    {line}\n"))


def test_what_adds_is_not_complained_of() -> None:
    assert not list(
        complaints(
            "def upgrade():\n"
            '    op.create_table("a", sa.Column("b"))\n'
            '    op.create_index("i", "a", ["b"])\n'
            '    op.add_column("c", sa.Column("d", sa.String(), nullable=True))\n'
            '    op.create_index("j", "c", ["d"], postgresql_concurrently=True)\n'
        )
    )


@pytest.mark.parametrize("package", PACKAGES)
async def test_migrations_get_through_beside_running_work(package: str, ground: Ground) -> None:
    """From the first version to the newest while transactions write to every table that is there;
    none of them is refused, and none waits for a lock longer than migrations may hold one."""
    config = migrate.config_for(package)
    first = ScriptDirectory.from_config(config).get_base()
    assert first is not None
    admin = create_async_engine(
        ground.postgres.dsn("postgres", scheme=SCHEME), isolation_level="AUTOCOMMIT"
    )
    async with admin.connect() as connection:
        await connection.execute(text(f'create database "busy_{package}"'))
    await admin.dispose()
    url = ground.postgres.dsn(f"busy_{package}", scheme=SCHEME)
    await asyncio.to_thread(command.upgrade, migrate.config_for(package, url), first)
    engine, end, rounds = create_async_engine(url, pool_size=4), asyncio.Event(), [0, 0]
    async with engine.connect() as connection:
        listed = "select tablename from pg_tables where schemaname = 'public'"
        there = {str(row[0]) for row in await connection.execute(text(listed))}
    # As services write: a row after those that it refers to. In any other order a migration that
    # needs two tables and a writer who has one of them would wait for each other, every time.
    order = [table.name for part in config.attributes["metadata"] for table in part.sorted_tables]
    tables = [name for name in order if name in there]
    assert there - set(tables) <= {"alembic_version"}

    async def work(which: int) -> None:
        while not end.is_set():
            async with engine.begin() as connection:
                for table in tables:
                    await connection.execute(text(f'lock "{table}" in row exclusive mode'))
                await connection.execute(text("select pg_sleep(0.005)"))
            rounds[which] += 1
            await asyncio.sleep(0.002)

    workers = [asyncio.create_task(work(which)) for which in range(2)]
    try:
        await asyncio.to_thread(migrate.upgrade, package, url)
    finally:
        end.set()
    await asyncio.gather(*workers)
    assert min(rounds) > 0
    async with engine.connect() as connection:
        found = await connection.scalar(text("select version_num from alembic_version"))
    assert found == migrate.head(package)
    await engine.dispose()
