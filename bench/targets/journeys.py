"""From sign-in to rating, on a platform of its own: one journey alone, and fifty at once."""

import asyncio
import json
import re
import sys
from pathlib import Path

import httpx

from beam.faults.crowd import Crowd
from beam.journey.stage import Place
from bench.harness import Bench
from bench.targets.platform import free_base, platform

AT_ONCE = 50
PATIENCE_SECONDS = 300.0
_SUM = re.compile(r"^beam_http_request_seconds_sum(?:\{[^}]*\})? ([\d.e+-]+)$", re.MULTILINE)


async def run(bench: Bench) -> None:
    if not sys.platform.startswith("linux"):
        bench.skip("journeys", "the platform of the benchmark is tried on Linux only")
        return
    data = bench.folder / "journeys"
    async with platform(bench, data, free_base()):
        place = Place.read(data / "run.json")
        crowd = Crowd(place, PATIENCE_SECONDS)
        try:
            await crowd.many(2)  # warm
            await _alone(bench, crowd, data)
            await _at_once(bench, crowd)
        finally:
            await crowd.close()


async def _own_seconds(data: Path) -> float:
    """What all services together spent on requests so far."""
    run = json.loads((data / "run.json").read_text())
    total = 0.0
    async with httpx.AsyncClient(trust_env=False) as client:
        for address in run["services"].values():
            answer = await client.get(f"{address}/metrics")
            found = _SUM.search(answer.raise_for_status().text)
            total += float(found[1]) if found else 0.0
    return total


async def _alone(bench: Bench, crowd: Crowd, data: Path) -> None:
    ratios, seconds = [], []
    for _ in range(bench.rounds):
        before = await _own_seconds(data)
        outcome = await crowd.walk("approved")
        if outcome.trouble:
            raise RuntimeError(outcome.trouble)
        took = outcome.report.seconds
        ratios.append(took / (await _own_seconds(data) - before))
        seconds.append(took)
    ratios.sort()
    bench.add(
        "journey-sum",
        "a whole journey / the time that its services spent on requests",
        ratios[len(ratios) // 2],
        2.0,
        at_least=False,
        note=f"{sorted(seconds)[len(seconds) // 2]:.2f} s; the rest waits for events and couriers",
    )


async def _at_once(bench: Bench, crowd: Crowd) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    outcomes = await crowd.many(AT_ONCE)
    took = loop.time() - began
    bad = sorted({o.trouble for o in outcomes if o.trouble})
    refused = [a for a in crowd.answers if a.status >= 500 and a.status != 503]
    bench.add(
        "journeys-at-once",
        f"{AT_ONCE} journeys at once that come to their end / {AT_ONCE}",
        sum(1 for o in outcomes if not o.trouble) / AT_ONCE,
        1.0,
        note=f"{took:.0f} s, {len(refused)} server errors" + (f"; {bad[0]}" if bad else ""),
    )
