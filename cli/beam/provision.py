"""Databases and roles: `beam_<service>`, its owner who migrates, and the role that runs.

Idempotent. Needs an administrator once; nothing of ours runs with his rights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import asyncpg

from kit import crash


@dataclass(frozen=True)
class Database:
    """Where one service's rows are, for its owner and for the service itself."""

    name: str
    owner_url: str
    """postgresql+asyncpg://…, may create tables"""
    runtime_url: str
    """postgresql+asyncpg://…, least rights: no table is its own"""


def _url(admin_url: str, user: str, password: str, database: str) -> str:
    parts = urlsplit(admin_url)
    host = f"{parts.hostname or '127.0.0.1'}:{parts.port or 5432}"
    query = f"?{parts.query}" if parts.query else ""
    return f"postgresql+asyncpg://{quote(user)}:{quote(password, safe='')}@{host}/{database}{query}"


def database_of(
    service: str, admin_url: str, owner_password: str, runtime_password: str
) -> Database:
    name = f"beam_{service}"
    return Database(
        name,
        _url(admin_url, f"{service}_owner", owner_password, name),
        _url(admin_url, f"{service}_svc", runtime_password, name),
    )


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def for_asyncpg(url: str) -> str:
    """SQLAlchemy's spelling of a URL, as the bare driver wants it."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


async def provision(admin_url: str, services: Mapping[str, tuple[str, str]]) -> dict[str, Database]:
    """Create what is missing for each service (name → owner's and runtime role's password).

    `admin_url` is postgresql://… of a role that may create roles and databases. Also refuses a
    server that would lose acknowledged commits: raises RuntimeError.
    """
    conn = await asyncpg.connect(for_asyncpg(admin_url), timeout=60, command_timeout=60)
    try:
        await _check_durable(conn)
        roles = {r["rolname"] for r in await conn.fetch("select rolname from pg_roles")}
        existing = {r["datname"] for r in await conn.fetch("select datname from pg_database")}
        for open_to_all in ("postgres", "template1"):
            if open_to_all in existing and not await _is_closed(conn, open_to_all):
                await conn.execute(f"revoke connect on database {_name(open_to_all)} from public")
        result: dict[str, Database] = {}
        for service, (owner_password, runtime_password) in services.items():
            owner, runtime = f"{service}_owner", f"{service}_svc"
            for role, password in ((owner, owner_password), (runtime, runtime_password)):
                verb = "alter" if role in roles else "create"
                await conn.execute(
                    f"{verb} role {_name(role)} login nosuperuser nocreatedb nocreaterole "
                    f"noreplication password {_text(password)}"
                )
            database = database_of(service, admin_url, owner_password, runtime_password)
            result[service] = database
            if database.name not in existing:
                if not await conn.fetchval("select current_setting('is_superuser')::bool"):
                    await conn.execute(f"grant {_name(owner)} to current_user")
                await conn.execute(
                    f"create database {_name(database.name)} owner {_name(owner)} "
                    "template template0"
                )
                await conn.execute(f"revoke all on database {_name(database.name)} from public")
                await conn.execute(
                    f"grant connect on database {_name(database.name)} to {_name(runtime)}"
                )
        return result
    finally:
        await conn.close()


async def _is_closed(conn: asyncpg.Connection, database: str) -> bool:
    return not await conn.fetchval(
        "select exists (select from pg_database d, aclexplode(coalesce(d.datacl, "
        "acldefault('d', d.datdba))) a where d.datname = $1 and a.grantee = 0 "
        "and a.privilege_type = 'CONNECT')",
        database,
    )


async def _check_durable(conn: asyncpg.Connection) -> None:
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        value = await conn.fetchval("select current_setting($1)", setting)
        if value == "off" and not crash.planted("unsynced"):
            raise RuntimeError(f"PostgreSQL runs with {setting}=off and would lose commits")
