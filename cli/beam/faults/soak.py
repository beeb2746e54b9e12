"""A long time under an even load with nothing wrong: no error, no process that grows, no
connections that become more, no events that wait longer and longer."""

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from ..demo import started
from .killer import family
from .scenes import ask_administrator
from .trial import Trial, trial

AT_ONCE = 2
"""Journeys at any time: about half of what two cores can do."""
SAMPLE_SECONDS = 10.0
WARM = 0.25
"""This part of the time is not counted: pools and caches fill."""
MEGABYTE = 1 << 20
GROWTH_MB_PER_HOUR = 1.0

POINTS = 60
"""So many points of the course of a process's memory are kept in the report."""

Sample = tuple[float, int, int, int]
"""Seconds, resident bytes, those of them that are no file's (nobody can take them back), open
files."""


def _look(pid: int) -> tuple[int, int, int]:
    _, resident, of_files, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    page = os.sysconf("SC_PAGE_SIZE")
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return resident * page, (resident - of_files) * page, files


def course(samples: Sequence[Sample]) -> list[tuple[float, float, float]]:
    """(minutes, resident MB, MB that are no file's), thinned out: it tells a slope from steps, and
    a cache that fills from memory that is lost."""
    step = -(-len(samples) // POINTS) or 1
    return [
        (round(at / 60, 1), round(resident / MEGABYTE, 2), round(own / MEGABYTE, 2))
        for at, resident, own, _ in (*samples[:-1:step], *samples[-1:])
    ]


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """The least-squares growth per hour of (seconds, value)."""
    n = len(samples)
    if n < 2:
        return 0.0
    mean_x, mean_y = sum(x for x, _ in samples) / n, sum(y for _, y in samples) / n
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread * 3600


async def _watch(the: Trial, names: Mapping[str, int], enough: asyncio.Event) -> Any:
    found: dict[str, list[Sample]] = {name: [] for name in names}
    began = time.monotonic()
    while not enough.is_set():
        for name, pid in names.items():
            with contextlib.suppress(FileNotFoundError):
                found[name].append((time.monotonic() - began, *_look(pid)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SAMPLE_SECONDS):
                await enough.wait()
    return found


async def _ground(the: Trial, enough: asyncio.Event) -> list[dict[str, int]]:
    """Now and then: connections to PostgreSQL, and events that wait for the broker."""
    found = []
    while not enough.is_set():
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            told = await asyncio.gather(
                *(client.get(f"{url}/health/ready") for url in the.services.values())
            )
        rows = await ask_administrator(
            the, "case", "select 1 from pg_stat_activity where backend_type = 'client backend'"
        )
        waiting = sum(answer.json()["bus"]["unsent"] for answer in told)
        found.append({"connections": len(rows) - 1, "unsent": waiting})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SAMPLE_SECONDS):
                await enough.wait()
    return found


async def lasting(the: Trial, *, seconds: float) -> None:
    """`seconds` of journeys, a few at any time, while memory and files are watched."""
    enough, before = asyncio.Event(), the.killer.pids
    samples = asyncio.create_task(_watch(the, before, enough))
    ground = asyncio.create_task(_ground(the, enough))
    walking = asyncio.create_task(the.crowd.keep_coming(AT_ONCE, enough))
    await asyncio.sleep(seconds)
    enough.set()
    await walking
    grown, files, courses = {}, {}, {}
    for name, taken in (await samples).items():
        warm = [sample for sample in taken if sample[0] > seconds * WARM]
        grown[name] = round(slope([(at, size / MEGABYTE) for at, size, *_ in warm]), 2)
        files[name] = [warm[0][-1], warm[-1][-1]] if warm else []
        courses[name] = course(taken)
    looks = await ground
    warm_looks = looks[int(len(looks) * WARM) :]
    errors = [answer.status for answer in the.crowd.answers if answer.status >= 500]
    died = [name for name, pid in before.items() if the.killer.pids[name] != pid]
    the.notes |= {
        "soaked_seconds": round(seconds),
        "server_errors": len(errors),
        "died": died,
        "growth_mb_per_hour": grown,
        "memory": courses,
        "open_files": files,
        "connections": [warm_looks[0]["connections"], warm_looks[-1]["connections"]],
        "most_connections": max(look["connections"] for look in looks),
        "most_unsent": max(look["unsent"] for look in looks),
        "processes": len(family(the.data)),
    }
    await the.settle()


def run(place: Path, *, seconds: float, seed: int) -> dict[str, Any]:
    """A platform of its own that is left alone but for its callers."""

    async def soak() -> dict[str, Any]:
        async with trial(place / "data", seed=seed, patience=120) as the:
            await lasting(the, seconds=seconds)
            return the.as_json()

    with started(place / "data"):
        return asyncio.run(soak())
