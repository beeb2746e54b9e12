"""The whole platform at rest: memory of all its processes, and how long it took to start.

Measures the platform whose run.json lies in `$BEAM_DATA`; starts one of its own, on free ports
and in a folder of its own, when none runs there.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bench.harness import Bench

MEMORY_MIB = 1024
FIRST_START_SECONDS, NEXT_START_SECONDS = 25, 10
SPAN = 40
"""Ports that a platform takes from its base on."""


def memory_kib(pid: int) -> int:
    """Proportional set size of a process (shared pages divided among their users) in KiB, the
    resident size where the system does not tell it, 0 when it is gone."""
    for file, field in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
                if line.startswith(field):
                    return int(line.split()[1])
    return 0


def family(pids: list[int]) -> set[int]:
    """The processes and all their descendants."""
    found: set[int] = set()
    todo = list(pids)
    while todo:
        pid = todo.pop()
        if pid in found:
            continue
        found.add(pid)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
    return found


def platform_memory(run_file: Path) -> dict[str, float]:
    """MiB of each program that run.json names, with its descendants; each process once."""
    pids: dict[str, int] = json.loads(run_file.read_text())["pids"]
    named = set(pids.values())
    memory = {}
    for name, pid in pids.items():
        others = named - {pid}
        own = family([pid]) - set().union(*(family([o]) for o in others if o in family([pid])))
        memory[name] = sum(memory_kib(p) for p in own) / 1024
    return memory


def free_base() -> int:
    """A base whose ports are all free."""
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            base = int(sock.getsockname()[1])
        if base + SPAN < 65000 and all(_is_free(p) for p in range(base, base + SPAN)):
            return base


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextlib.asynccontextmanager
async def platform(bench: Bench, data: Path, base: int) -> AsyncIterator[float]:
    """Run a platform of our own; gives the seconds until it was ready."""
    env = {**os.environ, "BEAM_DATA": str(data), "BEAM_PORT_BASE": str(base)}
    # All callers of the benchmark come from one address: its limits are for one client.
    env |= {"BEAM_GATEWAY_RATE": "0", "BEAM_GATEWAY_QUEUE_SECONDS": "60"}
    root = Path(__file__).resolve().parents[2]
    began = time.monotonic()
    with (bench.folder / "platform.out").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "beam", "run", env=env, cwd=root, stdout=out, stderr=out
        )
    try:
        while not (data / "run.json").exists():
            if process.returncode is not None or time.monotonic() - began > 180:
                text = (bench.folder / "platform.out").read_text(errors="replace")[-1500:]
                raise RuntimeError(f"the platform did not start:\n{text}")
            await asyncio.sleep(0.02)
        yield time.monotonic() - began
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def run(bench: Bench) -> None:
    if not sys.platform.startswith("linux"):
        bench.skip("platform", "memory is read from /proc")
        return
    running = Path(os.environ.get("BEAM_DATA", ".data")) / "run.json"
    if running.exists():
        _memory(bench, running)
        took = json.loads(running.read_text()).get("started_in_seconds")
        if took is not None:
            _start(bench, "next", float(took), NEXT_START_SECONDS)
        return
    data, base = bench.folder / "data", free_base()
    try:
        async with platform(bench, data, base) as took:
            _start(bench, "first", took, FIRST_START_SECONDS)
        async with platform(bench, data, base) as took:
            _start(bench, "next", took, NEXT_START_SECONDS)
            await asyncio.sleep(3)
            _memory(bench, data / "run.json")
    except RuntimeError as problem:
        bench.skip("platform", str(problem))


def _memory(bench: Bench, run_file: Path) -> None:
    memory = platform_memory(run_file)
    total = sum(memory.values())
    most = sorted(memory.items(), key=lambda item: -item[1])[:4]
    bench.add(
        "memory-idle",
        f"idle memory of the whole platform / {MEMORY_MIB} MiB",
        total / MEMORY_MIB,
        1.0,
        at_least=False,
        note=f"{total:.0f} MiB; most: " + ", ".join(f"{n} {m:.0f}" for n, m in most),
        mib={name: round(value, 1) for name, value in memory.items()},
    )


def _start(bench: Bench, which: str, seconds: float, limit: float) -> None:
    more: dict[str, Any] = {"seconds": round(seconds, 2)}
    bench.add(
        f"start-{which}",
        f"{which} start until everything is ready / {limit:g} s",
        seconds / limit,
        1.0,
        at_least=False,
        note=f"{seconds:.1f} s",
        **more,
    )
