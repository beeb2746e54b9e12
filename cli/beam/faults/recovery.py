"""How long it takes until everything is well again after a death: of one service, of PostgreSQL, of
NATS, of everything at once."""

import asyncio
import contextlib
import functools
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx

from ..demo import started
from .killer import family, until
from .trial import Trial, trial

PATIENCE = 120.0
_LOOK_SECONDS = 0.05


async def _well(the: Trial) -> bool:
    """Every service says that it is ready: its database, its connection to the broker."""
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        asked = (client.get(f"{url}/health/ready") for url in the.services.values())
        answers = await asyncio.gather(*asked, return_exceptions=True)
    return all(isinstance(a, httpx.Response) and a.status_code == 200 for a in answers)


async def _seconds_until_well(the: Trial, began: float) -> float:
    while not await _well(the):  # noqa: ASYNC110  other processes tell nobody
        await asyncio.sleep(_LOOK_SECONDS)
    return round(time.monotonic() - began, 1)


async def _deaths(data: Path, seed: int) -> tuple[dict[str, Any], dict[str, float]]:
    async with trial(data, seed=seed, patience=PATIENCE) as the:
        await the.crowd.many(2)
        found: dict[str, float] = {}
        for name in ("case", "postgres", "nats"):
            await _seconds_until_well(the, 0)
            before, began = the.killer.pids[name], time.monotonic()
            the.killer.kill(name)
            await until(functools.partial(_is_new, the, name, before))
            found[name] = await _seconds_until_well(the, began)
        await the.settle()
        return the.as_json(), found


def _is_new(the: Trial, name: str, before: int) -> bool:
    return the.killer.pids[name] != before


def _kill_everything(data: Path) -> None:
    pids = family(data)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


async def _after_everything(data: Path, seed: int, began: float) -> tuple[dict[str, Any], float]:
    async with trial(data, seed=seed, patience=PATIENCE) as the:
        seconds = await _seconds_until_well(the, began)
        await the.crowd.many(2)
        await the.settle()
        return the.as_json(), seconds


def run(place: Path, *, seed: int) -> dict[str, Any]:
    """Report with `recovered_after`: part → seconds."""
    data = place / "data"
    with started(data):
        report, seconds = asyncio.run(_deaths(data, seed))
        _kill_everything(data)
    began = time.monotonic()
    (data / "run.json").unlink()
    with started(data):
        after, seconds["everything"] = asyncio.run(_after_everything(data, seed, began))
    report["violations"] += after["violations"]
    report["faults"] += 1
    return report | {"recovered_after": seconds}
