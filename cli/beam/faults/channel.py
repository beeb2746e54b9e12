"""The payment channel answers nothing but errors for a while: callers wait, nobody asks it more
often than agreed, and what was pending comes to its end soon after its return."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx

from ..demo import started
from .trial import Trial, trial

AFTER_SECONDS = 180.0
"""Within so long nothing may be pending any more."""
FREE_QUERIES, EVERY_SECONDS = 3, 90.0
"""The first queries for an order come sooner; then at most one in so many seconds."""
WAITING = {"new", "submitted", "unknown"}


async def away(the: Trial, *, journeys: int, seconds: float) -> None:
    """Journeys that come to their payment while the channel is away for `seconds`."""
    sandbox_url = the.crowd.place.sandbox
    async with httpx.AsyncClient(base_url=sandbox_url, timeout=30, trust_env=False) as sandbox:
        fault = {"call": "any", "kind": "500", "moment": "before", "times": 10_000}
        (await sandbox.post("/_sim/wechat/faults", json=fault)).raise_for_status()
        the.killer.struck.append(f"no channel for {seconds:.0f} s")
        began = time.monotonic()
        walking = asyncio.create_task(the.crowd.many(journeys, over=seconds / 2))
        await asyncio.sleep(seconds)
        during = (await the.evidence()).rows("payment", "attempt")
        (await sandbox.delete("/_sim/wechat/faults")).raise_for_status()
    back = time.monotonic()
    waiting = {row["id"] for row in during if row["state"] in WAITING}
    settled_after = await _until_none(the, waiting, AFTER_SECONDS * 2)
    await walking
    await the.settle()
    late = [row for row in during if _asked_too_often(row, back - began)]
    the.notes |= {
        "away_seconds": round(back - began),
        "waited_for_channel": len(waiting),
        "most_queries": max((row["queries"] for row in during), default=0),
        "asked_too_often": len(late),
        "settled_after": settled_after,
    }


async def _until_none(the: Trial, waiting: set[str], seconds: float) -> float | None:
    """Seconds until none of these attempts waits any more; None when one still does."""
    began = time.monotonic()
    while (spent := time.monotonic() - began) < seconds:
        rows = (await the.evidence()).rows("payment", "attempt")
        if not any(row["id"] in waiting and row["state"] in WAITING for row in rows):
            return round(spent, 1)
        await asyncio.sleep(2)
    return None


def _asked_too_often(row: Any, seconds: float) -> bool:
    return bool(row["queries"] > FREE_QUERIES + 1 + seconds / EVERY_SECONDS)


def run(place: Path, *, journeys: int, seconds: float, seed: int) -> dict[str, Any]:
    """A platform of its own whose channel goes away."""

    async def play() -> dict[str, Any]:
        patience = seconds + AFTER_SECONDS + 60
        async with trial(place / "data", seed=seed, patience=patience) as the:
            await away(the, journeys=journeys, seconds=seconds)
            return the.as_json()

    with started(place / "data"):
        return asyncio.run(play())
