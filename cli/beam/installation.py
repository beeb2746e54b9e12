"""A deployment in containers: its secrets as files, the broker's accounts, the first data.

`beam secrets` writes them once on the host; `beam broker-accounts` and `beam init` are jobs inside.
"""

import asyncio
import importlib
import importlib.util
import os
import secrets as random
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from pydantic import ValidationError

from kit import migrate as kit_migrate
from kit.app import opened

from . import serving, setting_files
from .environment import broker_accounts
from .programs import SERVICES, Program
from .provision import Database, for_asyncpg, provision
from .secret_store import SecretStore
from .trouble import Trouble

RUN_SECRETS = Path("/run/secrets")
LAST_LINE = "=== 初始化完成 ==="
_LOCK = 0x0BEA_0001


def departments() -> tuple[str, ...]:
    """Codes of `BEAM_PARTNER_DEPTS`: the departments with systems of their own."""
    return tuple(c for c in os.environ.get("BEAM_PARTNER_DEPTS", "").split(",") if c.strip())


def write_secrets(folder: Path, depts: tuple[str, ...], *, outside: bool) -> list[str]:
    """Write what is missing, never change what is there; returns the names of the new files.

    The folder is closed (0700) and its files can be read (0444): a container gets single files
    of it mounted, and runs as another user. `outside`: also keys of the simulated outside world.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    before = {file for file in folder.rglob("*") if file.is_file()}
    store = SecretStore(folder, depts)
    store.clients_file()
    texts = {f"gateway.{part}": store.of(part, "gateway") for part in ("nats", "client")}
    for program in SERVICES:
        store.vault_file(program.name)
        for part in ("database", "nats", "client"):
            texts[f"{program.name}.{part}"] = store.of(part, program.name)
    for admin in ("postgres_admin", "grafana_admin"):
        if not (folder / admin).exists():
            texts[admin] = random.token_urlsafe(32)
    for name, text in texts.items():
        _write(folder / name, text)
    parties = ("wechat", "sf", "sms", "citizens", "enterprises", "wechat_mini", "oidc")
    for name in ("tls", "outside", *(f"outside/{party}" for party in parties)):
        if not (outside and name.startswith("outside/")):
            (folder / name).mkdir(exist_ok=True)
    if outside:
        from sandbox import keys

        keys.provision(folder / "outside")
    for file in folder.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o444)
    return sorted(
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and file not in before
    )


def _write(file: Path, text: str) -> None:
    if file.exists() and file.read_text() == text + "\n":
        return
    fresh = file.with_name(f".{file.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(0o600)
    fresh.write_text(text + "\n")
    fresh.replace(file)


def consumers() -> dict[str, list[str]]:
    """Each service's own durables, as its code declares them."""
    durables = {}
    for program in SERVICES:
        if importlib.util.find_spec(f"{program.package}.subscribers") is not None:
            on = importlib.import_module(f"{program.package}.subscribers").on
            durables[program.name] = [name for name, _ in on.durables(program.name)]
    return durables


def write_broker_accounts(file: Path) -> None:
    """The `accounts` part of nats.conf, of the code's own consumers and the secrets."""
    store, durables = SecretStore(RUN_SECRETS, departments(), may_write=False), consumers()
    fresh = file.with_name(f".{file.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(0o600)
    fresh.write_text(broker_accounts(store, durables))
    fresh.replace(file)
    print(f"✓ NATS 账号 / accounts: {sum(map(len, durables.values()))} consumers", flush=True)


async def initialise() -> None:
    """Databases, roles, migrations, rights and first data; one at a time, safe to run again."""
    setting_files.read(os.environ, ["BEAM_POSTGRES_PASSWORD"])
    admin_url = os.environ.get("BEAM_POSTGRES_URL")
    if admin_url is None:
        raise Trouble("请设置 BEAM_POSTGRES_URL。", "Set BEAM_POSTGRES_URL.")
    store = SecretStore(RUN_SECRETS, departments(), may_write=False)
    try:
        lock = await asyncpg.connect(for_asyncpg(admin_url), timeout=10, command_timeout=3600)
    except (OSError, asyncpg.PostgresError) as exc:
        where = urlsplit(admin_url).hostname
        raise Trouble(
            f"无法连接 PostgreSQL({where}:{type(exc).__name__})。若数据卷来自更早的安装,其口令"
            "在当时的 secrets 目录里。",
            f"Cannot connect to PostgreSQL ({where}: {type(exc).__name__}). If its volume is of "
            "an earlier installation, its password is in the secrets of that time.",
        ) from None
    try:
        await lock.execute("select pg_advisory_lock($1)", _LOCK)
        databases = await provision(admin_url, store.database_passwords())
        for program in SERVICES:
            await _migrate(program, databases[program.name])
        for program in SERVICES:
            if importlib.util.find_spec(f"{program.package}.seed") is not None:
                await _seed(program, databases[program.name])
    finally:
        await lock.close()
    print(LAST_LINE, flush=True)


async def _migrate(program: Program, database: Database) -> None:
    role = urlsplit(database.runtime_url).username
    try:
        await asyncio.to_thread(kit_migrate.upgrade, program.package, database.owner_url, role)
    except kit_migrate.Busy as problem:
        raise Trouble(
            f"{database.name} 正忙,迁移没有进行({problem})。请稍后再执行一次;长事务见 "
            "pg_stat_activity。已完成的迁移不会重做。",
            f"{database.name} is busy, its migration was not done ({problem}). Try again later; "
            "pg_stat_activity shows long transactions. What is done stays done.",
        ) from None
    print(f"✓ {database.name} → {kit_migrate.head(program.package)}", flush=True)


async def _seed(program: Program, database: Database) -> None:
    values: dict[str, Any] = {
        "database_url": database.runtime_url,
        "vault_key_file": RUN_SECRETS / f"{program.name}.json",
    }
    kind = serving.settings_class(program)
    if "service_secrets_file" in kind.model_fields:
        values["service_secrets_file"] = RUN_SECRETS / "clients.json"
    try:
        settings = kind(**values)
    except ValidationError as problem:
        raise setting_files.wrong(kind, problem) from None
    setup = getattr(importlib.import_module(f"{program.package}.main"), "setup", None)
    seed = importlib.import_module(f"{program.package}.seed").seed
    async with opened(settings, setup=setup) as runtime:
        await seed(runtime)
    print(f"✓ {program.name}: 初始数据 / first data", flush=True)
