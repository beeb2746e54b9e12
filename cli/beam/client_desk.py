"""`beam client …`: other systems that sign people in here, registered from the command line."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from .helps import example
from .identity_desk import desk
from .told import Language, told, who
from .trouble import Trouble

client = typer.Typer(help="应用与部门系统 / clients: other systems", no_args_is_help=True)
ClientId = Annotated[
    str, typer.Argument(help="应用的编号,见 client list / its id, see client list")
]
GRANTS = ("code", "device", "exchange", "credentials")


@client.command(
    epilog=example("client add 随身办 --name-en Pocket --redirect https://app.example/callback")
)
def add(
    name: Annotated[str, typer.Argument(help="名称 / its name in Chinese")],
    name_en: Annotated[str, typer.Option(help="英文名称 / its name in English")] = "",
    redirect: Annotated[
        list[str] | None, typer.Option(help="回调地址,可重复 / redirect address, repeatable")
    ] = None,
    after_logout: Annotated[
        list[str] | None, typer.Option(help="退出后的地址 / post-logout redirect address")
    ] = None,
    backchannel: Annotated[
        str | None, typer.Option(help="后端退出通知地址 / back-channel logout address")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="openid、profile;默认两者 / both by default")
    ] = None,
    grant: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(GRANTS)};默认 code / code by default")
    ] = None,
    secret: Annotated[bool, typer.Option(help="用密钥证明身份,只显示一次 / a secret")] = False,
    jwks: Annotated[Path | None, typer.Option(help="公钥文件(JWKS) / its public keys")] = None,
    jwks_uri: Annotated[str | None, typer.Option(help="公钥地址 / where its keys lie")] = None,
    dept: Annotated[str | None, typer.Option(help="所属部门代码 / its department")] = None,
    strict: Annotated[
        bool, typer.Option(help="只接受 PAR 与 DPoP(FAPI 2.0) / must push and bind (FAPI 2.0)")
    ] = False,
    ours: Annotated[bool, typer.Option(help="不再询问用户 / people are not asked")] = False,
    by: Annotated[str, typer.Option(help="谁登记的 / who registers it")] = "",
    lang: Language = "zh",
) -> None:
    """登记一个应用,打印 client_id 和(如有)密钥 / register one; the secret is shown once."""
    with told(lang):
        made = asyncio.run(
            register(
                name=name,
                name_en=name_en or name,
                redirect_uris=redirect or [],
                logout_uris=after_logout or [],
                backchannel_logout_uri=backchannel,
                scopes=scope or ["openid", "profile"],
                grants=grant or ["code"],
                secret=secret,
                jwks=jwks,
                jwks_uri=jwks_uri,
                dept=dept,
                strict=strict,
                third_party=not ours,
                by=f"cli:{who(by)}",
            )
        )
        for field, value in made.items():
            print(f"{field}={value}")


@client.command("list", epilog=example("client list"))
def list_clients(lang: Language = "zh") -> None:
    """列出登记的应用 / those that were registered."""
    with told(lang):
        asyncio.run(_list())


@client.command(epilog=example("client off app_pocket"))
def off(client_id: ClientId, lang: Language = "zh") -> None:
    """停用:不再发凭证,已发的全部失效 / no more tokens, and those that it has are refused."""
    with told(lang):
        asyncio.run(switch(client_id, on=False))


@client.command(epilog=example("client on app_pocket"))
def on(client_id: ClientId, lang: Language = "zh") -> None:
    """恢复使用 / let it in again."""
    with told(lang):
        asyncio.run(switch(client_id, on=True))


async def register(
    *,
    grants: list[str],
    secret: bool,
    jwks: Path | None,
    jwks_uri: str | None,
    by: str,
    **about: Any,
) -> dict[str, str]:
    """What is to be printed: `client_id`, and `client_secret` where it has one. Raises Trouble."""
    from identity_svc import clients, schemas

    odd = set(grants) - set(GRANTS)
    if odd:
        raise Trouble(
            f"--grant 只能是 {', '.join(GRANTS)}。", f"--grant is one of {', '.join(GRANTS)}."
        )
    if sum((secret, jwks is not None, jwks_uri is not None)) > 1:
        raise Trouble(
            "--secret、--jwks、--jwks-uri 只能选一个。",
            "Choose one of --secret, --jwks, --jwks-uri.",
        )
    keys = _keys(jwks) if jwks is not None else []
    made = secrets.token_urlsafe(32) if secret else None
    try:
        wanted = schemas.ClientEntry.model_validate(
            {**about, "keys": keys, "jwks_uri": jwks_uri, "grants": grants}
        ).model_dump()
    except ValidationError as problem:
        fields = ", ".join(sorted({str(error["loc"][0]) for error in problem.errors()}))
        raise Trouble(f"这些内容不合要求:{fields}。", f"These do not fit: {fields}.") from None
    with _told():
        async with desk() as at, at.sessions.begin() as session:
            row = await clients.enter(session, **wanted, secret=made, by=by)
            told = {"client_id": row.client_id}
    return {**told, **({"client_secret": made} if made else {})}


@contextlib.contextmanager
def _told() -> Iterator[None]:
    from kit.errors import Problem

    try:
        yield
    except Problem as problem:
        raise Trouble(problem.zh, problem.en) from None


def _keys(file: Path) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))["keys"]
    except (OSError, ValueError, KeyError, TypeError):
        raise Trouble(f"{file} 不是 JWKS 文件。", f"{file} is not a file with a JWKS.") from None
    return found


async def switch(client_id: str, *, on: bool) -> None:
    from identity_svc import clients

    with _told():
        async with desk() as at, at.sessions.begin() as session:
            await clients.switch(session, client_id, on=on)
    print(f"{client_id}: {'on' if on else 'off'}")


async def _list() -> None:
    from identity_svc import clients

    table = Table("client_id", "名称 / name", "方式 / proof", "grants", "部门 / dept", "")
    async with desk() as at, at.sessions() as session:
        after: str | None = None
        while rows := await clients.registered(session, after=after, limit=100):
            for row in rows[:100]:
                proof = "jwks" if row.jwks else "jwks_uri" if row.jwks_uri else ""
                proof = proof or ("secret" if row.secret_hash else "none")
                grants = " ".join(grant.rpartition(":")[2] for grant in row.grant_types)
                state = "on" if row.active else "off"
                table.add_row(row.client_id, row.name, proof, grants, row.dept or "", state)
            after = rows[:100][-1].client_id
            if len(rows) <= 100:
                break
    Console(width=160, soft_wrap=True).print(table)
