"""`beam keys …`: what operators do to identity-svc from the command line.

It works on the service's own database, with its own rights: inside the container (`docker compose
exec identity beam keys rotate`) as its settings say, else on the platform that runs on this data
folder.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from . import setting_files
from .helps import example
from .place import Place
from .programs import BY_NAME
from .provision import database_of
from .secret_store import SecretStore
from .told import Language, told
from .trouble import Trouble

if TYPE_CHECKING:
    from identity_svc.settings import Settings
    from kit.db import Sessions
    from kit.secrets import Vault

keys = typer.Typer(help="签名密钥 / the keys that sign tokens", no_args_is_help=True)
WHERE = ("BEAM_DATABASE_URL", "BEAM_DATABASE_URL_FILE")


@dataclass(frozen=True)
class Desk:
    """identity-svc's rows and the keys that open them."""

    settings: "Settings"
    sessions: "Sessions"
    vault: "Vault"


@contextlib.asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    """Raises Trouble when there is no platform here, or a setting is wrong."""
    from kit.db import open_engine, open_sessions
    from kit.secrets import Vault

    settings = _settings()
    assert settings.vault_key_file is not None
    engine = open_engine(settings.database_url.get_secret_value(), pool=1, overflow=0)
    try:
        yield Desk(settings, open_sessions(engine), Vault.from_file(settings.vault_key_file))
    except OSError as error:
        raise Trouble(
            f"连接不到统一身份服务的数据库({type(error).__name__})。平台是否在运行?",
            f"The database of identity-svc cannot be reached ({type(error).__name__}). "
            "Does the platform run?",
        ) from None
    finally:
        await engine.dispose()


def _settings() -> "Settings":
    from identity_svc.settings import Settings

    if any(name in os.environ for name in WHERE):
        setting_files.read(os.environ, setting_files.names_of(Settings))
        try:
            settings = Settings()
        except ValidationError as problem:
            raise setting_files.wrong(Settings, problem) from None
        if settings.vault_key_file is None:
            raise Trouble("请设置 BEAM_VAULT_KEY_FILE。", "Set BEAM_VAULT_KEY_FILE.")
        return settings
    place = Place.from_environment()
    outside = os.environ.get("BEAM_POSTGRES_URL")
    if place.holder() is None and outside is None:
        raise Trouble(
            f"资料目录 {place.data} 上没有正在运行的平台。请先执行 make run。",
            f"No platform runs on the data folder {place.data}. Run make run first.",
        )
    store = SecretStore(place.data, may_write=False)
    owner, runtime = store.database_passwords()["identity"]
    admin = outside or f"postgresql://127.0.0.1:{place.postgres_port}/postgres"
    given = {
        "environment": "development",
        "issuer": os.environ.get("BEAM_ISSUER", place.url(BY_NAME["gateway"])),
        "database_url": database_of("identity", admin, owner, runtime).runtime_url,
        "vault_key_file": store.vault_file("identity"),
    }
    return Settings.model_validate(given)


@keys.command("list", epilog=example("keys list"))
def list_keys(lang: Language = "zh") -> None:
    """列出已公布的密钥 / the published keys, and what happens to each when."""
    with told(lang):
        asyncio.run(_list())


@keys.command(epilog=example("keys rotate", "keys rotate --emergency"))
def rotate(
    emergency: Annotated[
        bool,
        typer.Option(
            help="旧密钥立即作废,用它签的凭证全部失效 / withdraw the old key now: its tokens die"
        ),
    ] = False,
    lang: Language = "zh",
) -> None:
    """启用下一把密钥 / let the next key sign; the old one is published for another hour."""
    with told(lang):
        asyncio.run(turn(emergency=emergency))


async def _list() -> None:
    async with desk() as at:
        await _print(at)


async def turn(*, emergency: bool) -> None:
    """Rotate, and print what was and what is. Raises Trouble while the next key is too young."""
    from identity_svc import keys as signing

    async with desk() as at:
        async with at.sessions.begin() as session:
            before = {t.state: t for t in await signing.turns(session, key_days=1)}
            if emergency:
                await signing.withdraw(session, at.vault)
            elif not await signing.rotate(session, at.vault, older_than=timedelta()):
                may = before["next"].published_at + signing.PUBLISHED_BEFORE_USE
                raise Trouble(
                    f"下一把密钥公布还不满一天,{_when(may)} 之后才能启用,以免有的服务还不认识它。"
                    "密钥泄露时请用 --emergency。",
                    f"The next key has not been public for a day: not before {_when(may)}, or some "
                    "service may not know it. After a leak, use --emergency.",
                )
        old, new = before["current"].kid, before["next"].kid
        print(f"{old} → {new}")
        if emergency:
            print("旧密钥已作废,数秒内全部服务拒绝它 / withdrawn; refused everywhere in seconds")
        else:
            print("旧密钥再公布一小时 / the old key stays published for an hour")
        await _print(at)


async def _print(at: Desk) -> None:
    from identity_svc import keys as signing

    async with at.sessions() as session:
        turns = await signing.turns(session, key_days=at.settings.key_days)
    table = Table("kid", "状态 / state", "公布 / published", "签名自 / signs from", "至 / until")
    for t in turns:
        table.add_row(
            t.kid, t.state, _when(t.published_at), _when(t.signs_from), _when(t.published_until)
        )
    Console(width=140, soft_wrap=True).print(table)


def _when(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if moment is not None else "–"
