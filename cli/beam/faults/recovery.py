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

from ..demo import free_port_base, started
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


def _is_new(the: Trial, name: str, before: int) -> bool:
    return the.killer.pids[name] != before


def _kill_everything(data: Path) -> None:
    pids = family(data)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


async def _deaths(place: Path, seed: int) -> dict[str, Any]:
    data, found = place / "data", dict[str, float]()
    environment = {"BEAM_PORT_BASE": str(free_port_base())}
    stack = contextlib.ExitStack()
    try:
        await asyncio.to_thread(stack.enter_context, started(data, **environment))
        async with trial(data, seed=seed, patience=PATIENCE) as the:
            await the.crowd.many(2)
            for name in ("case", "postgres", "nats"):
                await _seconds_until_well(the, 0)
                before, began = the.killer.pids[name], time.monotonic()
                the.killer.kill(name)
                await until(functools.partial(_is_new, the, name, before))
                found[name] = await _seconds_until_well(the, began)
            services = the.services
            began = time.monotonic()
            await asyncio.to_thread(_kill_everything, data)
            await asyncio.to_thread(stack.close)
            the.killer.struck.append("kill everything")
            (data / "run.json").unlink()
            await asyncio.to_thread(stack.enter_context, started(data, **environment))
            assert services == the.services
            found["everything"] = await _seconds_until_well(the, began)
            await the.crowd.many(2)
            await the.settle()
            return the.as_json() | {"recovered_after": found}
    finally:
        await asyncio.to_thread(stack.close)


def run(place: Path, *, seed: int) -> dict[str, Any]:
    """Report with `recovered_after`: part → seconds."""
    return asyncio.run(_deaths(place, seed))
