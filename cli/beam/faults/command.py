"""`beam faults`: 0 only if nothing was violated, or every planted bug was caught."""

import asyncio
import contextlib
import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..demo import started
from ..reports import Reports, keep
from ..reports import folder as folder_of_reports
from . import (
    bill,
    channel,
    clocks,
    disks,
    network,
    phases,
    plants,
    power,
    recovery,
    soak,
    volumes,
)
from .checks import INVARIANTS
from .trial import trial

PATIENCE = 240.0
"""Seconds for which a caller waits: deliveries and leases of what died come again after 30 s, a
channel is asked again after 90 s at most, and any of them may meet the next fault."""
SWEEP_SECONDS = 600.0
FIRE_SECONDS, SOAK_SECONDS, CHANNEL_SECONDS = 45.0, 7200.0, 600.0


@dataclass(frozen=True)
class Wish:
    """How much of it is wanted."""

    journeys: int
    seconds: float | None
    """None: as long as the part usually takes."""
    seed: int
    cuts: int
    times: int
    """How often each death is repeated whose recovery is timed."""
    lines: int = bill.LINES
    """Of the channel's bill."""


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A place for a platform that PostgreSQL's own user may walk through."""
    with tempfile.TemporaryDirectory(prefix="beam-faults-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


def _fire(place: Path, wish: Wish) -> dict[str, Any]:
    async def burn() -> dict[str, Any]:
        async with trial(place / "data", seed=wish.seed, patience=PATIENCE) as the:
            await phases.under_fire(
                the, journeys=wish.journeys, seconds=wish.seconds or FIRE_SECONDS
            )
            return the.as_json() | {"struck": the.killer.struck}

    with started(place / "data"):
        return asyncio.run(burn())


def _store(place: Path, wish: Wish) -> dict[str, Any]:
    async def lose() -> dict[str, Any]:
        async with trial(place / "data", seed=wish.seed, patience=PATIENCE) as the:
            await phases.store_lost(the)
            return the.as_json()

    with started(place / "data"):
        return asyncio.run(lose())


def _points(place: Path, wish: Wish) -> dict[str, Any]:
    async def sweep() -> dict[str, Any]:
        async with trial(place / "data", seed=wish.seed, patience=PATIENCE) as the:
            await phases.named_points(the, seconds=SWEEP_SECONDS)
            return the.as_json()

    with started(place / "data"):
        return asyncio.run(sweep())


def _network(place: Path, wish: Wish) -> dict[str, Any]:
    return network.run(place, journeys=max(2, wish.journeys // 6), seed=wish.seed)


def _disk(place: Path, wish: Wish) -> dict[str, Any]:
    return disks.run(place, journeys=max(2, wish.journeys // 4), seed=wish.seed)


def _power(place: Path, wish: Wish) -> dict[str, Any]:
    journeys = max(2, wish.journeys // 4)
    return asyncio.run(power.cut_off(place, cuts=wish.cuts, journeys=journeys, seed=wish.seed))


def _clock(place: Path, wish: Wish) -> dict[str, Any]:
    return clocks.run(place, seed=wish.seed)


def _recovery(place: Path, wish: Wish) -> dict[str, Any]:
    return recovery.run(place, seed=wish.seed, times=wish.times)


def _silence(place: Path, wish: Wish) -> dict[str, Any]:
    return network.run_silent(place, seed=wish.seed)


def _channel(place: Path, wish: Wish) -> dict[str, Any]:
    return channel.run(
        place,
        journeys=max(4, wish.journeys // 2),
        seconds=wish.seconds or CHANNEL_SECONDS,
        seed=wish.seed,
    )


def _bill(place: Path, wish: Wish) -> dict[str, Any]:
    return bill.run(place, lines=wish.lines, seed=wish.seed)


def _soak(place: Path, wish: Wish) -> dict[str, Any]:
    return soak.run(place, seconds=wish.seconds or SOAK_SECONDS, seed=wish.seed)


def _nothing() -> str | None:
    return None


@dataclass(frozen=True)
class Part:
    """One kind of trouble, on a platform of its own."""

    title: str
    run: Callable[[Path, Wish], dict[str, Any]]
    unavailable: Callable[[], str | None] = _nothing
    """Why it cannot be had on this machine."""


PARTS = {
    "fire": Part("随机杀死、冻结进程", _fire),
    "store": Part("NATS 丢失全部存储", _store),
    "points": Part("在每个命名崩溃点杀死各服务", _points),
    "recovery": Part("恢复所需时间", _recovery),
    "network": Part("网络:延迟、丢弃、半开、重置、缓慢、分区", _network),
    "silence": Part("各部分沉默多久被察觉", _silence),
    "disk": Part("磁盘写满", _disk, volumes.unavailable),
    "power": Part("断电", _power, volumes.unavailable),
    "clock": Part("时钟跳变、夏令时、2 月 29 日", _clock, clocks.unavailable),
    "channel": Part("支付渠道中断", _channel),
    "bill": Part("渠道账单与账目有差异", _bill),
    "soak": Part("长时间平稳运行", _soak),
}
QUICK = ("fire",)
USUAL = tuple(name for name in PARTS if name not in ("channel", "bill", "soak"))
"""What one run does without being asked for more; the others take very long."""


def run(
    *, parts: Sequence[str], planted: Sequence[str] | None, wish: Wish, json_file: Path | None
) -> int:
    """The command. `planted`: names of bugs to plant instead, empty for all of them."""
    # Whoever ends us, what we started and mounted goes with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console, began = Console(highlight=False), time.monotonic()
    report: dict[str, Any]
    if planted is not None:
        report = plants.hunt(console, folder, plants.chosen(planted))
        good = not report["missed"] and not report["control_failed"]
    else:
        report = _parts(parts, wish, console)
        good = not report["violations"]
    report["seconds"] = round(time.monotonic() - began, 1)
    if planted is not None:
        before = Reports(folder_of_reports()).last("faults-planted") or {}
        keep("faults-planted", plants.joined(before, report))
    if json_file is not None:
        json_file.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    shown = {
        k: v
        for k, v in report.items()
        if k not in ("violations", "parts", "invariants", "plants", "scenes")
    }
    console.print_json(json.dumps(shown, ensure_ascii=False))
    return 0 if good else 1


def _parts(names: Sequence[str], wish: Wish, console: Console) -> dict[str, Any]:
    done: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    for name in names:
        part = PARTS[name]
        if (why := part.unavailable()) is not None:
            skipped[name] = why
            console.print(f"– {part.title}:跳过,{why}")
            continue
        console.print(f"{part.title}(种子 {wish.seed})…")
        began = time.monotonic()
        with folder() as place:
            found = part.run(place, wish)
        done[name] = found | {"seed": wish.seed, "seconds": round(time.monotonic() - began, 1)}
        keep(f"faults-{name}", done[name])
        for violation in found["violations"]:
            console.print(f"✗ {violation['check']}: {violation['what']}", markup=False)
    violations = [violation for found in done.values() for violation in found["violations"]]
    return {
        "faults": sum(found["faults"] for found in done.values()),
        "requests": sum(found["requests"] for found in done.values()),
        "journeys": {
            key: sum(found["journeys"][key] for found in done.values())
            for key in ("started", "finished")
        },
        "points": done.get("points", {}).get("points"),
        "violations": violations,
        "invariants": {
            number: {
                "what": what,
                "checks": list(checks),
                "violations": sum(violation["check"] in checks for violation in violations),
            }
            for number, (what, checks) in INVARIANTS.items()
        },
        "skipped": skipped,
        "parts": done,
    }
