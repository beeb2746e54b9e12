"""Databases and roles on a real server: least rights, idempotent, never lossy."""

import os
from collections.abc import Iterator

import asyncpg
import pytest

from beam.provision import Database, for_asyncpg, provision
from kit.embedded import PostgresServer

PASSWORDS = {"case": ("own-case", "run-case"), "payment": ("own'pay", 'run"pay/@')}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer.temporary() as running:
        yield running


@pytest.fixture(scope="module")
async def databases(server: PostgresServer) -> dict[str, Database]:
    made = await provision(server.dsn(), PASSWORDS)
    owner = await asyncpg.connect(for_asyncpg(made["case"].owner_url))
    await owner.execute("create table kept (n int); grant select, insert on kept to case_svc")
    await owner.close()
    return made


async def test_the_runtime_role_has_no_more_than_it_was_granted(
    databases: dict[str, Database],
) -> None:
    conn = await asyncpg.connect(for_asyncpg(databases["case"].runtime_url))
    await conn.execute("insert into kept values (1)")
    for statement in (
        "delete from kept",
        "update kept set n = 2",
        "truncate kept",
        "drop table kept",
        "create table mine (n int)",
        "create schema mine",
        "create role friend",
        "create database mine",
        "set role case_owner",
        "copy kept to '/tmp/stolen'",
        "select pg_read_file('/etc/passwd')",
        "alter system set fsync = off",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(statement)
    await conn.close()


async def test_a_service_does_not_enter_anothers_database(
    server: PostgresServer, databases: dict[str, Database]
) -> None:
    for database in ("beam_payment", "postgres", "template1"):
        for user, password in (("case_svc", "run-case"), ("case_owner", "own-case")):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await asyncpg.connect(server.dsn(database, user, password))
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.dsn("beam_case", "case_svc", "own-case"))


async def test_odd_characters_in_a_password_are_only_characters(
    databases: dict[str, Database],
) -> None:
    for url in (databases["payment"].owner_url, databases["payment"].runtime_url):
        conn = await asyncpg.connect(for_asyncpg(url))
        await conn.close()


async def test_again_changes_nothing_but_takes_new_passwords(
    server: PostgresServer, databases: dict[str, Database]
) -> None:
    again = await provision(server.dsn(), PASSWORDS | {"case": ("own-case", "new-one")})
    conn = await asyncpg.connect(for_asyncpg(again["case"].runtime_url))
    assert await conn.fetchval("select count(*) from kept") == 1
    await conn.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(for_asyncpg(databases["case"].runtime_url))
    await provision(server.dsn(), PASSWORDS)


async def test_an_administrator_without_superuser_is_enough(server: PostgresServer) -> None:
    conn = await asyncpg.connect(server.dsn())
    await conn.execute("create role admin login createdb createrole password 'admin'")
    await conn.execute("grant connect on database postgres to admin")
    await conn.close()
    made = await provision(
        server.dsn("postgres", "admin", "admin"), {"helpdesk": ("own-h", "run-h")}
    )
    owner = await asyncpg.connect(for_asyncpg(made["helpdesk"].owner_url))
    await owner.execute("create table tickets (n int)")
    await owner.close()


async def test_a_server_that_would_lose_commits_is_refused() -> None:
    with PostgresServer.temporary() as lossy:
        conn = await asyncpg.connect(lossy.dsn())
        await conn.execute("alter role postgres set synchronous_commit = off")
        await conn.close()
        with pytest.raises(RuntimeError, match="synchronous_commit"):
            await provision(lossy.dsn(), PASSWORDS)
    assert not os.path.exists("/tmp/stolen")
