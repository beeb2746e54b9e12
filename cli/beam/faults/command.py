"""`beam faults`: 0 only if nothing was violated, or every planted bug was caught."""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from ..demo import started
from . import phases, plants
from .trial import trial

PATIENCE = 240.0
"""Seconds for which a caller waits: deliveries and leases of what died come again after 30 s, a
channel is asked again after 90 s at most, and any of them may meet the next fault."""


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A place for a platform that PostgreSQL's own user may walk through."""
    with tempfile.TemporaryDirectory(prefix="beam-faults-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


async def _trouble(
    data: Path, *, quick: bool, seconds: float, journeys: int, seed: int, console: Console
) -> dict[str, Any]:
    async with trial(data, seed=seed, patience=PATIENCE) as the:
        console.print(f"{journeys} 件同时办理,{seconds:.0f} 秒内随机杀进程(种子 {seed})…")
        await phases.under_fire(the, journeys=journeys, seconds=seconds)
        if not quick:
            console.print("NATS 丢失全部存储…")
            await phases.store_lost(the)
            console.print("逐一在每个命名崩溃点杀死各服务…")
            await phases.named_points(the, seconds=600)
        return the.as_json() | {"seed": seed, "struck": the.killer.struck}


def run(
    *, quick: bool, planted: bool, seconds: float, journeys: int, seed: int, json_file: Path | None
) -> int:
    """The command."""
    console, began = Console(), time.monotonic()
    if planted:
        report = plants.hunt(console, folder)
        good = not report["missed"]
    else:
        with folder() as place, started(place / "data"):
            report = asyncio.run(
                _trouble(
                    place / "data",
                    quick=quick,
                    seconds=seconds,
                    journeys=journeys,
                    seed=seed,
                    console=console,
                )
            )
        good = not report["violations"]
        for violation in report["violations"]:
            console.print(f"✗ {violation['check']}: {violation['what']}")
    report["seconds"] = round(time.monotonic() - began, 1)
    if json_file is not None:
        json_file.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    shown = {k: v for k, v in report.items() if k not in ("violations", "struck", "points")}
    console.print_json(json.dumps(shown, ensure_ascii=False))
    return 0 if good else 1
