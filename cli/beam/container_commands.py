"""The commands that containers run, and what an operator runs in them."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from .helps import example
from .place import Place
from .programs import by_name
from .told import Language
from .told import told as _told

app = typer.Typer()


@app.command(epilog=example("serve case"))
def serve(
    name: Annotated[str, typer.Argument(help="程序名,如 case / name of the program")],
    lang: Language = "zh",
) -> None:
    """在容器中运行一个程序 / run one program in this process, until SIGTERM."""
    from .serve import run as serve_it

    with _told(lang):
        code = serve_it(by_name(name))
    raise typer.Exit(code)


@app.command(epilog=example("config case", "config gateway --json"))
def config(
    name: Annotated[str, typer.Argument(help="程序名,如 case / name of the program")],
    as_json: Annotated[
        bool, typer.Option("--json", help="每项一个 JSON 对象 / as JSON, for scripts")
    ] = False,
    lang: Language = "zh",
) -> None:
    """一个程序的全部设置:现值、来源、含义 / its settings: value, origin, meaning; no secrets."""
    from .config import show

    with _told(lang):
        code = show(by_name(name), as_json=as_json)
    raise typer.Exit(code)


@app.command(epilog=example("init"))
def init(lang: Language = "zh") -> None:
    """容器部署:建库、迁移、授权、初始数据 / databases, migrations, rights, first data."""
    from .installation import initialise

    with _told(lang):
        asyncio.run(initialise())


@app.command(epilog=example("broker", "broker --replicas 3"))
def broker(
    replicas: Annotated[
        int | None,
        typer.Option(help="1、3 或 5:事件保存在几台服务器上 / on how many servers events are kept"),
    ] = None,
    move: Annotated[
        bool, typer.Option("--move", help="让另一台成为主节点 / let another server lead")
    ] = False,
    lang: Language = "zh",
) -> None:
    """消息集群:查看、改副本数、换主节点 / the broker's servers, the stream and its consumers."""
    from .broker import show

    with _told(lang):
        code = asyncio.run(show(Place.from_environment(), replicas, move=move))
    raise typer.Exit(code)


@app.command("broker-accounts", epilog=example("broker-accounts accounts.conf"))
def accounts(
    file: Annotated[Path, typer.Argument(help="写到这里 / where it is written")],
    lang: Language = "zh",
) -> None:
    """容器部署:写出 NATS 账号 / write the accounts part of nats.conf."""
    from .installation import write_broker_accounts

    with _told(lang):
        write_broker_accounts(file)


@app.command(epilog=example("secrets deploy/secrets --outside"))
def secrets(
    folder: Annotated[Path, typer.Argument(help="写到这里 / where they are written")],
    outside: Annotated[
        bool, typer.Option(help="同时生成模拟支付与快递的密钥 / keys of the sandbox, too")
    ] = False,
    lang: Language = "zh",
) -> None:
    """容器部署:生成密钥文件,只补不改 / write secret files; what is there stays as it is."""
    from .installation import departments, write_secrets

    with _told(lang):
        fresh = write_secrets(folder, departments(), outside=outside)
        print("\n".join([*fresh, f"✓ {len(fresh)} 个新文件 / new files"]))


@app.command(epilog=example("smoke"))
def smoke(lang: Language = "zh") -> None:
    """容器部署:从大门走一遍 / the door's checks, and with the sandbox the whole journey."""
    from .smoke import run as smoke_it

    with _told(lang):
        code = smoke_it()
    raise typer.Exit(code)
