"""Bad roads between the parts while people are on their way, and how soon a part that says nothing
any more is noticed."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ..demo import started
from ..journey.steps import CITIZEN
from .detours import Condition, Detours
from .trial import Trial, trial

SECONDS: dict[Condition, float] = {
    "latency": 6,
    "slow": 6,
    "refuse": 4,
    "half_open": 9,
    "blackhole": 9,
}
ROADS = ("postgres", "nats", "case", "payment", "identity", "sandbox")
SILENCE_SECONDS = 16.0
NOTICED_WITHIN, REFUSED_WITHIN = 8.0, 2.0
AWAY = (502, 503, 504)
PATIENCE = 240.0


@dataclass
class Silence:
    """What callers saw while a part said nothing; seconds."""

    part: str
    noticed: float | None = None
    """From the beginning of the silence to the first refusal (or the bus's own `not connected`)."""
    slowest_refusal: float = 0.0
    """Of the requests that came after it was noticed."""
    back: float | None = None
    """From the end of the silence to the first success."""
    others: list[int] = field(default_factory=list)
    """Statuses that are neither success nor `away`."""

    def as_json(self) -> dict[str, Any]:
        good = self.noticed is not None and self.noticed <= NOTICED_WITHIN
        return {
            "part": self.part,
            "noticed": self.noticed and round(self.noticed, 1),
            "slowest_refusal": round(self.slowest_refusal, 2),
            "back": self.back and round(self.back, 1),
            "others": sorted(set(self.others)),
            "ok": good and self.slowest_refusal <= REFUSED_WITHIN and not self.others,
        }


async def trouble(data: Path, detours: Detours, *, journeys: int, seed: int) -> dict[str, Any]:
    """Every road in every bad condition, journeys all the while."""
    async with trial(data, seed=seed, patience=PATIENCE) as the:
        for condition, seconds in SECONDS.items():
            walking = asyncio.create_task(the.crowd.many(journeys, over=seconds * len(ROADS) / 2))
            for name in ROADS:
                with detours.bad(condition, name):
                    await asyncio.sleep(seconds)
                the.killer.struck.append(f"{condition} to {name}")
            await walking
        walking = asyncio.create_task(the.crowd.many(journeys))
        with detours.bad("blackhole", "postgres", "nats", "sandbox"):
            await asyncio.sleep(8)
        the.killer.struck.append("partition")
        await walking
        await the.settle()
        return the.as_json()


async def silences(data: Path, detours: Detours, *, seed: int) -> dict[str, Any]:
    """Each part says nothing for a while, in turn."""
    async with trial(data, seed=seed, patience=PATIENCE) as the:
        await the.crowd.many(2)
        the.notes["silences"] = [
            (await silence(the, detours, part)).as_json() for part in ("postgres", "case", "nats")
        ]
        the.killer.struck += [f"silent {told['part']}" for told in the.notes["silences"]]
        await the.settle()
        return the.as_json()


async def silence(the: Trial, detours: Detours, part: str) -> Silence:
    """How long it takes until callers are told instead of waiting, while `part` says nothing."""
    found, ask = Silence(part), _ready if part == "nats" else _read_cases
    over, asking = asyncio.Event(), []

    async def one() -> None:
        began = time.monotonic()
        status = await ask(the)
        ended = time.monotonic()
        if 200 <= status < 300:
            if over.is_set() and began > end and found.back is None:
                found.back = ended - end
        elif status not in AWAY:
            found.others.append(status)
        elif found.noticed is None:
            found.noticed = ended - start
        elif began - start > found.noticed:
            found.slowest_refusal = max(found.slowest_refusal, ended - began)

    await the.crowd.sign_in()
    await ask(the)
    start = end = time.monotonic()
    with detours.bad("blackhole", part):
        while time.monotonic() - start < SILENCE_SECONDS:
            asking.append(asyncio.create_task(one()))
            await asyncio.sleep(0.5)
    end = time.monotonic()
    over.set()
    while found.back is None and time.monotonic() - end < 30:
        asking.append(asyncio.create_task(one()))
        await asyncio.sleep(0.5)
    await asyncio.gather(*asking)
    return found


async def _read_cases(the: Trial) -> int:
    """As a citizen through the gateway; the status."""
    headers = {"authorization": f"Bearer {the.crowd.token(CITIZEN)}"}
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        try:
            return (
                await client.get(f"{the.crowd.place.gateway}/v1/cases", headers=headers)
            ).status_code
        except httpx.TransportError:
            return 0


async def _ready(the: Trial) -> int:
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        return (await client.get(f"{the.services['case']}/health/ready")).status_code


def run_silent(place: Path, *, seed: int) -> dict[str, Any]:
    """A platform of its own behind a proxy whose parts fall silent."""
    with Detours() as detours, started(place / "data", **detours.environment):
        return asyncio.run(silences(place / "data", detours, seed=seed))


def run(place: Path, *, journeys: int, seed: int) -> dict[str, Any]:
    """A platform of its own behind a proxy with bad roads."""
    with Detours() as detours, started(place / "data", **detours.environment):
        return asyncio.run(trouble(place / "data", detours, journeys=journeys, seed=seed))
