"""`beam doctor`: what this machine has and lacks, each line with what to do."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from kit.embedded import EmbeddedError, nats, postgres
from kit.embedded.process import port_taken

from .place import Place
from .programs import PROGRAMS

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Finding:
    good: bool
    zh: str
    en: str


def examine(place: Place, language: str) -> int:
    """Print every finding; returns 1 when one of them is bad."""
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
    writable = os.access(folder, os.W_OK)
    yield Finding(
        writable,
        f"资料目录 {place.data} " + ("可写" if writable else "不可写,请设置 BEAM_DATA"),
        f"data folder {place.data} is " + ("writable" if writable else "read-only: set BEAM_DATA"),
    )
    info = Path("/proc/meminfo")
    if info.exists():
        lines = dict(line.split(":", 1) for line in info.read_text().splitlines())
        memory = int(lines["MemTotal"].split()[0]) // 1024
        yield Finding(
            memory >= 1500,
            f"内存 {memory} MiB,至少需要 1500",
            f"{memory} MiB of memory, 1500 needed",
        )
