"""A disk without a free byte under the broker's store or the database, while people go on."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from ..demo import started
from ..journey.door import Away, Failed
from ..journey.steps import OPERATOR
from . import volumes
from .checks import Violation
from .network import AWAY
from .scenes import as_administrator
from .trial import Trial, trial

MEGABYTES = {"nats": 64, "postgres": 700}
FULL_SECONDS = 25.0
_MEGABYTE = "repeat('x', 1000000)"
PATIENCE = 240.0


async def _fill(the: Trial, folder: Path, part: str, journeys: int) -> dict[str, Any]:
    """Full for a while, journeys all the while. Every answer is a success or says `later`, and
    operators see what is wrong."""
    before = len(the.crowd.answers)
    walking = asyncio.create_task(the.crowd.many(journeys, over=FULL_SECONDS / 2))
    await asyncio.sleep(3)
    alarms: set[str] = set()
    felt = False
    with volumes.full(folder):
        if part == "postgres":
            felt = await _use_up_the_log(the)
        the.killer.struck.append(f"disk of {part} full")
        end = time.monotonic() + FULL_SECONDS
        while time.monotonic() < end:
            alarms |= await _alarms(the)
            await asyncio.sleep(1)
    empty = time.monotonic()
    await walking
    await the.settle()
    answers = the.crowd.answers[before:]
    if not felt and not any(alarm.startswith("events wait") for alarm in alarms):
        the.violations.append(Violation("full_disk", f"{part} never noticed its full disk", True))
    broken = sorted({a.status for a in answers if a.status >= 500 and a.status not in AWAY})
    if broken:
        the.violations.append(Violation("full_disk", f"{part} full: answers {broken}", True))
    if not alarms:
        the.violations.append(
            Violation("full_disk", f"{part} full and nothing in /v1/ops says so", True)
        )
    return {
        "part": part,
        "accepted": sum(1 for a in answers if a.status < 300 and a.method != "GET"),
        "later": sum(1 for a in answers if a.status in AWAY),
        "alarms": sorted(alarms),
        "settled_after": round(time.monotonic() - empty, 1),
    }


async def _use_up_the_log(the: Trial) -> bool:
    """PostgreSQL keeps room for its log in advance: write until there is none left."""
    for _ in range(MEGABYTES["postgres"]):
        try:
            await as_administrator(
                the, "case", lambda _: f"select pg_logical_emit_message(true, '', {_MEGABYTE})"
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return True
    return False


async def _alarms(the: Trial) -> set[str]:
    """What `/v1/ops` shows that an operator would look at."""
    with contextlib.suppress(Failed, Away, httpx.TransportError):
        await the.crowd.sign_in()
        said = await the.crowd.ask(OPERATOR, "/v1/ops")
        found = {f"not ready: {name}" for name in said["not_ready"]}
        found |= {f"unreachable: {name}" for name in said["unreachable"]}
        found |= {f"events wait: {name}" for name in said["late_events"]}
        return found
    return set()


def run(place: Path, *, journeys: int, seed: int) -> dict[str, Any]:
    """First the broker's disk, then the database's, each in a platform of its own."""
    reports = []
    for part, megabytes in MEGABYTES.items():
        data = place / part
        with volumes.small(data / part, megabytes=megabytes) as disk, started(data):

            async def trouble(data: Path = data, disk: Path = disk, part: str = part) -> Any:
                async with trial(data, seed=seed, patience=PATIENCE) as the:
                    the.notes["full"] = await _fill(the, disk, part, journeys)
                    return the.as_json()

            reports.append(asyncio.run(trouble()))
    return merged(reports)


def merged(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Several platforms' reports as one: numbers added, lists joined, notes collected."""
    whole: dict[str, Any] = {}
    for report in reports:
        for name, value in report.items():
            if isinstance(value, dict) and name == "journeys":
                known = whole.setdefault(name, dict.fromkeys(value, 0))
                whole[name] = {key: known[key] + value[key] for key in value}
            elif isinstance(value, int | list):
                whole[name] = whole.get(name, type(value)()) + value
            else:
                whole.setdefault(name, []).append(value)
    return whole
