"""The commands. Each is a few lines here; what it does lives in a module of its own."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from . import VERSION, audit_desk, client_desk, container_commands, identity_desk, staff_desk
from .helps import CODES, example
from .place import Place
from .programs import BY_NAME, PROGRAMS, by_name
from .told import Language
from .told import told as _told
from .trouble import Trouble

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, epilog=CODES
)
app.add_typer(container_commands.app)
app.add_typer(identity_desk.keys, name="keys")
app.add_typer(client_desk.client, name="client")
app.add_typer(staff_desk.staff, name="staff")
app.add_typer(audit_desk.audit, name="audit")


@app.callback()
def beam() -> None:
    """一网通办 · 一梁四柱 (One Beam)."""


@app.command(epilog=example("version"))
def version() -> None:
    """显示版本 / print the version."""
    print(VERSION)


@app.command(epilog=example("run", "run --lang en --only case --only gateway"))
def run(
    lang: Language = "zh",
    only: Annotated[
        list[str] | None, typer.Option(help="只启动这些程序 / start only these programs")
    ] = None,
    no_demo: Annotated[
        bool, typer.Option("--no-demo", help="不装入演示数据 / without demo data")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="显示全部日志 / show all log lines")
    ] = False,
) -> None:
    """启动全部:数据库、消息、各服务、沙箱 / start everything; Ctrl-C stops."""
    from .screen import Screen
    from .supervisor import Supervisor

    with _told(lang):
        place = Place.from_environment()
        wanted = [by_name(name) for name in only or BY_NAME]
        place.open()
        screen = Screen(place.logs, lang, verbose=verbose)
        programs = [program for program in PROGRAMS if program in wanted]

        async def supervise() -> int:
            supervisor = Supervisor(place, screen, programs=programs, demo_data=not no_demo)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                # Under nohup the end of the terminal is not ours.
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    loop.add_signal_handler(number, supervisor.stop)
            return await supervisor.run()

        try:
            code = asyncio.run(supervise())
            screen.notice("已全部停止", "everything has stopped")
        finally:
            screen.close()
            place.close()
    raise typer.Exit(code)


@app.command(epilog=example("stop"))
def stop(lang: Language = "zh") -> None:
    """停止正在运行的 beam / stop the beam that runs on this data folder."""
    with _told(lang):
        place = Place.from_environment()
        pid = place.holder()
        if pid is None:
            print("没有正在运行的 beam / no beam is running here")
            return
        os.kill(pid, signal.SIGTERM)
        while place.holder() == pid:
            time.sleep(0.1)
        print("已停止 / stopped")


@app.command(epilog=example("migrate"))
def migrate(lang: Language = "zh") -> None:
    """准备数据库并迁移到最新 / create databases and roles, migrate them, then end."""
    from .migration import migrate_all
    from .screen import Screen

    with _told(lang):
        place = Place.from_environment()
        place.open()
        screen = Screen(place.logs, lang)
        try:
            asyncio.run(migrate_all(place, screen))
        finally:
            screen.close()
            place.close()


@app.command(epilog=example("doctor", "doctor --json"))
def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="每项一个 JSON 对象 / as JSON, for scripts")
    ] = False,
    lang: Language = "zh",
) -> None:
    """检查本机,以及正在运行的平台 / check this machine, and the platform that runs on it."""
    from .doctor import examine

    with _told(lang):
        code = examine(Place.from_environment(), lang, as_json=as_json)
    raise typer.Exit(code)


@app.command(epilog=example("demo", "demo --speed 0 --fail pay --json demo.json --curl demo.sh"))
def demo(
    lang: Language = "zh",
    speed: Annotated[float, typer.Option(help="每步后停顿秒数 / seconds between steps")] = 0.6,
    fail: Annotated[
        str | None, typer.Option(help="pay:缴费后不予许可并退款 / refused after payment, refunded")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="结果写入文件 / write the report to a file")
    ] = None,
    curl_file: Annotated[
        Path | None, typer.Option("--curl", help="每一步的 curl 写入文件 / the curl line of each")
    ] = None,
) -> None:
    """走完一件真事(食品经营许可) / play the main journey through the public API."""
    from . import demo

    with _told(lang):
        if fail not in (None, "pay"):
            raise Trouble(f"--fail 只认 pay,不认 {fail}。", f"--fail knows pay, not {fail}.")
        code = demo.run(fail=fail, speed=speed, json_file=json_file, curl_file=curl_file)
    raise typer.Exit(code)


@app.command(epilog=example("token 13800000001"))
def token(
    login: Annotated[str, typer.Argument(help="演示账号 / a demo account, 13800000001")],
    lang: Language = "zh",
) -> None:
    """以演示账号登录,打印访问令牌 / sign a demo account in, print its access token."""
    from . import demo

    with _told(lang):
        print(demo.token(login))


@app.command(epilog=example("faults --quick", "faults --only bill --lines 1000"))
def faults(
    quick: Annotated[bool, typer.Option(help="一分钟以内 / within a minute")] = False,
    planted: Annotated[
        bool, typer.Option(help="逐个植入缺陷,检查能否发现 / plant bugs, each must be caught")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="只做这几类,或只植入这几个 / only these kinds, or these bugs"),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="随机故障、平稳运行、渠道中断的时长 / length of fire, soak, channel"),
    ] = None,
    journeys: Annotated[int | None, typer.Option(help="同时办理的件数 / journeys at once")] = None,
    cuts: Annotated[int, typer.Option(help="断电次数 / power cuts")] = 3,
    times: Annotated[
        int, typer.Option(help="恢复时间各测几次 / how often each recovery is timed")
    ] = 3,
    lines: Annotated[int, typer.Option(help="渠道账单的行数 / lines of the bill")] = 100_000,
    seed: Annotated[int, typer.Option(help="随机种子 / seed of the random faults")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="结果写入文件 / write the report to a file")
    ] = None,
    lang: Language = "zh",
) -> None:
    """故障测试:另起一套平台,制造故障,再核对账目与事件 / break things, check the books."""
    from .faults import command, plants

    with _told(lang):
        known = list(plants.NAMES if planted else command.PARTS)
        unknown = [name for name in only or () if name not in known]
        if unknown:
            raise Trouble(
                f"没有 {', '.join(unknown)}。可选:{', '.join(known)}。",
                f"There is no {', '.join(unknown)}. There are: {', '.join(known)}.",
            )
        code = command.run(
            parts=only or (command.QUICK if quick else command.USUAL),
            planted=(only or []) if planted else None,
            wish=command.Wish(
                journeys=journeys or (6 if quick else 20),
                seconds=seconds or (12 if quick else None),
                seed=seed,
                cuts=cuts,
                times=times,
                lines=lines,
            ),
            json_file=json_file,
        )
    raise typer.Exit(code)


@app.command(epilog=example("figures --quick", "figures --read --only 1 --json figures.json"))
def figures(
    quick: Annotated[
        bool, typer.Option(help="只做短的测量,约十分钟 / small probes, about ten minutes")
    ] = False,
    read: Annotated[
        bool, typer.Option("--read", help="只读取已有报告 / read the last reports, run nothing")
    ] = False,
    only: Annotated[list[int] | None, typer.Option(help="只取这几项 / only these numbers")] = None,
    bench: Annotated[
        Path | None, typer.Option(help="性能测试的报告 / a report of `make bench --json`")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="结果写入文件 / write the table to a file")
    ] = None,
    lang: Language = "zh",
) -> None:
    """22 项可靠性数字:目标、实测、是否达到 / the 22 figures of reliability, or why not measured."""
    from .figures import command

    with _told(lang):
        code = command.run(
            quick=quick,
            read_only=read,
            only=only or (),
            bench_file=bench,
            json_file=json_file,
        )
    raise typer.Exit(code)


@app.command(epilog=example("contracts"))
def contracts() -> None:
    """写出 OpenAPI、AsyncAPI、JSON Schema / write what others may rely on into the tree."""
    from . import contracts as published

    root = Path(__file__).resolve().parents[2]
    print(f"{published.write(root)} 个文件有变化 / files changed")


@app.command(epilog=example("backup", "backup /mnt/elsewhere/today.tar"))
def backup(
    file: Annotated[
        Path | None, typer.Argument(help="备份文件 / the file; 默认 backups/one-beam-….tar")
    ] = None,
    lang: Language = "zh",
) -> None:
    """备份全部数据库与密钥,运行中也可以 / save all databases and keys, also while it runs."""
    from . import backups, keeping

    with _told(lang):
        made, manifest = keeping.backup(Place.from_environment(), file)
        print(f"✓ {made}\n  {backups.summary(manifest)}")


@app.command(epilog=example("restore backups/one-beam-20261122-030000.tar"))
def restore(
    file: Annotated[Path, typer.Argument(help="备份文件 / the file that backup wrote")],
    lang: Language = "zh",
) -> None:
    """从备份恢复;运行中拒绝,原有数据移到一旁 / put a backup in place; refuses while it runs."""
    from . import backups, keeping

    with _told(lang):
        manifest = keeping.restore(Place.from_environment(), file)
        print(f"✓ {backups.summary(manifest)}\n  {backups.AFTER_RESTORE} EMBEDDED=1")
