"""`beam doctor`: what this machine has and lacks, each line with what to do."""

import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from kit.embedded import EmbeddedError, nats, postgres
from kit.embedded.process import port_taken

from . import condition
from .place import Place
from .programs import PROGRAMS

_MIB = 1024 * 1024
_CLOCK_SECONDS = 60
"""How far files may be ahead of the clock."""


@dataclass(frozen=True)
class Finding:
    good: bool
    zh: str
    en: str


def examine(place: Place, language: str, *, as_json: bool = False) -> int:
    """Print every finding, or all as one JSON array; returns 1 when one of them is bad."""
    if as_json:
        findings = list(_findings(place))
        print(json.dumps([asdict(one) for one in findings], ensure_ascii=False, indent=1))
        return 0 if all(one.good for one in findings) else 1
    console, bad = Console(highlight=False), False
    for finding in _findings(place):
        mark = "[green]✓[/]" if finding.good else "[red]✗[/]"
        text = finding.en if language == "en" else finding.zh
        console.print(f"{mark} " + text.replace("[", r"\["), soft_wrap=True)
        bad = bad or not finding.good
    return 1 if bad else 0


def _findings(place: Place) -> Iterator[Finding]:
    version = platform.python_version()
    good = sys.version_info >= (3, 11)
    yield Finding(
        good,
        f"Python {version}" + ("" if good else ",至少需要 3.11"),
        f"Python {version}" + ("" if good else ", at least 3.11 is needed"),
    )
    yield from _wheels()
    yield from _machine(place)
    holder = place.holder()
    if holder is not None:
        yield Finding(
            True, f"beam 正在运行(进程 {holder})", f"a beam is running here (process {holder})"
        )
        yield from _running(place)
        return
    ports = {program.name: place.port(program) for program in PROGRAMS}
    ports |= {
        "NATS": place.nats_port,
        "NATS monitor": place.nats_monitor_port,
        "PostgreSQL": place.postgres_port,
    }
    taken = {name: port for name, port in ports.items() if port_taken(port)}
    shown = ", ".join(f"{port} ({name})" for name, port in taken.items())
    yield Finding(
        not taken,
        f"端口已被占用:{shown}。请用 BEAM_PORT_BASE 换一组" if taken else "端口全部空闲",
        f"ports taken: {shown}. Use BEAM_PORT_BASE" if taken else "all ports are free",
    )


def _wheels() -> Iterator[Finding]:
    for name, variable, look in (
        ("PostgreSQL", "BEAM_POSTGRES_URL", postgres.install_folder),
        ("NATS", "BEAM_NATS_URL", nats.binary),
    ):
        if os.environ.get(variable):
            yield Finding(True, f"{name}:{variable} 指定的外部服务", f"{name}: of {variable}")
            continue
        try:
            look()
        except EmbeddedError as problem:
            yield Finding(False, problem.zh, problem.en)
        else:
            yield Finding(True, f"内置 {name} 已安装", f"embedded {name} is installed")


def _machine(place: Place) -> Iterator[Finding]:
    folder = place.data
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free // _MIB
    yield Finding(
        free >= 1024, f"磁盘可用 {free} MiB,至少需要 1024", f"{free} MiB of disk free, 1024 needed"
    )
    why = _refusal(folder)
    yield Finding(
        why is None,
        f"资料目录 {place.data} " + ("可写" if why is None else f"不可写({why}),请设置 BEAM_DATA"),
        f"data folder {place.data} is "
        + ("writable" if why is None else f"not writable ({why}): set BEAM_DATA"),
    )
    yield _clock(place)
    info = Path("/proc/meminfo")
    if info.exists():
        lines = dict(line.split(":", 1) for line in info.read_text().splitlines())
        memory = int(lines["MemTotal"].split()[0]) // 1024
        yield Finding(
            memory >= 1500,
            f"内存 {memory} MiB,至少需要 1500",
            f"{memory} MiB of memory, 1500 needed",
        )


def _refusal(folder: Path) -> str | None:
    """Why nothing can be written there; None when it can. Asked by writing: rights alone do not
    tell of a read-only file system, nor a superuser of anything."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as exc:
        return exc.strerror or type(exc).__name__
    return None


def _clock(place: Place) -> Finding:
    """After a power cut a machine may wake up in the past: tokens and deadlines go wrong then."""
    written = (
        [f.stat().st_mtime for f in place.data.glob("logs/*.log")] if place.data.exists() else []
    )
    ahead = max(written, default=0.0) - time.time()
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if ahead > _CLOCK_SECONDS:
        last = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(written)))
        return Finding(
            False,
            f"本机时钟 {now},但日志已写到 {last}:时钟慢了。请校时(timedatectl set-ntp true)再启动",
            f"the clock says {now}, but logs were written at {last}: set it (timedatectl set-ntp "
            "true) before you start",
        )
    return Finding(True, f"本机时钟 {now}", f"the clock says {now}")


def _running(place: Place) -> Iterator[Finding]:
    """Every program of the platform that runs here, each bad one with what to do."""
    programs = condition.of(place)
    if programs is None:
        yield Finding(
            False,
            "还在启动;一分钟后再执行一次,仍如此:看 make run 的输出",
            "it is still starting; try again in a minute, then see what make run says",
        )
        return
    for name, reasons in programs.items():
        log = place.logs / f"{name}.log"
        if reasons is None:
            yield Finding(
                False,
                f"{name} 没有回答;它会自动重启,仍如此:看 {log} 的最后几行",
                f"{name} gives no answer; it is started again by itself: if not, see the last "
                f"lines of {log}",
            )
        elif reasons:
            told = "; ".join(reasons)
            yield Finding(
                False,
                f"{name} 未就绪:{told}。怎么办见 docs/operations.md 的“未就绪”",
                f"{name} is not ready: {told}. See 未就绪 in docs/operations.md",
            )
    if programs and not any(reasons is None or reasons for reasons in programs.values()):
        yield Finding(
            True,
            f"{len(programs)} 个程序全部就绪;死信、账目与备份见 /ops",
            f"all {len(programs)} programs are ready; dead letters, books, backups: see /ops",
        )
