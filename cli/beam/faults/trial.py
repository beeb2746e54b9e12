"""One platform of its own that is put through trouble, and what came of it."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from ..journey.stage import Durable, Place
from .checks import Violation, examine
from .crowd import Crowd
from .evidence import Evidence, collect
from .killer import Killer

QUIET_SECONDS = 90.0
"""How long everything may take to come right after the last fault: deliveries that were in hand
come again after 30 s, a channel is asked again after 15 s, 60 s, 90 s."""
LOOK_SECONDS = 2.0


@dataclass
class Trial:
    """A running platform with its killer, its crowd and the departments that listen."""

    data: Path
    killer: Killer
    crowd: Crowd
    departments: dict[str, Durable]
    violations: list[Violation] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    _told: int = 0

    @property
    def services(self) -> dict[str, str]:
        """Service → its own address, without the gateway."""
        found: dict[str, str] = json.loads((self.data / "run.json").read_text())["services"]
        return found

    def database(self, service: str) -> str:
        """Address of a service's database, with the service's own rights."""
        found: dict[str, str] = json.loads((self.data / "run.json").read_text())["postgres"]
        return found[service]

    async def evidence(self) -> Evidence:
        """Everything as it stands; waits for what is away."""
        end = time.monotonic() + QUIET_SECONDS
        while True:
            try:
                return await collect(
                    self.data / "run.json",
                    heard={dept: d.events for dept, d in self.departments.items()},
                    answers=self.crowd.answers,
                    wishes=self.crowd.wishes,
                )
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, httpx.HTTPError):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(1)

    async def settle(
        self, *, seconds: float = QUIET_SECONDS, until: Iterable[str] = ()
    ) -> list[Violation]:
        """Look until nothing is wrong, or until a look that began after `seconds`: one that takes
        long (after hours of journeys, minutes) is thus followed by another. What the last look
        finds wrong is a violation.
        Ends early when all that is wrong will last, or when one of the checks `until` found
        something lasting."""
        end, wanted = time.monotonic() + seconds, set(until)
        while True:
            began = time.monotonic()
            found = examine(await self.evidence())
            lasting = [v for v in found if v.lasting]
            sure = any(v.check in wanted for v in lasting)
            if len(lasting) == len(found) or sure or began > end:
                break
            await asyncio.sleep(LOOK_SECONDS)
        outcomes, self._told = self.crowd.outcomes[self._told :], len(self.crowd.outcomes)
        found += [Violation("journeys", o.trouble, True) for o in outcomes if o.trouble]
        if any(violation.check == "departments" for violation in found):
            self.notes["listeners"] = [str(durable) for durable in self.departments.values()]
        for violation in found:
            if violation not in self.violations:
                self.violations.append(violation)
        return found

    def as_json(self) -> dict[str, Any]:
        ok = sum(1 for outcome in self.crowd.outcomes if outcome.report.ok)
        return {
            "faults": len(self.killer.struck),
            "requests": len(self.crowd.answers),
            "journeys": {"started": len(self.crowd.outcomes), "finished": ok},
            "violations": [violation.as_json() for violation in self.violations],
            **self.notes,
        }


@contextlib.asynccontextmanager
async def trial(data: Path, *, seed: int, patience: float) -> AsyncIterator[Trial]:
    """Around the platform that runs in `data`. `patience`: seconds that a caller waits."""
    place = Place.read(data / "run.json")
    async with contextlib.AsyncExitStack() as stack:
        departments = {
            partner["dept"]: await stack.enter_async_context(Durable(partner))
            for partner in place.partners.values()
        }
        crowd = Crowd(place, patience)
        stack.push_async_callback(crowd.close)
        yield Trial(data, Killer(data, random.Random(seed)), crowd, departments)
