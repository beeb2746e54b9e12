"""What a platform goes through, one phase after the other; each ends in quiet and the checks."""

import asyncio
import time

from kit.seals.watch import SEAL_SECONDS

from .checks import Violation
from .crowd import Crowd
from .points import on_the_way, sweep
from .trial import Trial

AT_ONCE = 6
"""Journeys that keep the platform busy while points are swept."""
WALK_SECONDS = 3 * SEAL_SECONDS
"""At least so long it is watched which points are passed: what staff did is sealed and told then.
A point that was passed once, for what was done before, is one that nobody comes to again."""


async def under_fire(trial: Trial, *, journeys: int, seconds: float) -> None:
    """`journeys` at once while anything is killed or frozen for `seconds`; then quiet."""
    await asyncio.gather(trial.crowd.many(journeys, over=seconds / 2), trial.killer.rage(seconds))
    await trial.settle()


async def named_points(trial: Trial, *, seconds: float) -> None:
    """Every service dies once at each of its points that journeys pass; none may be left out, and
    of the others it is said why."""
    crowd = trial.crowd

    async def walk() -> None:
        asked = asyncio.Event()
        others = asyncio.gather(
            crowd.ask_for_codes(asked), crowd.come_and_go(asked), crowd.register_systems(asked)
        )
        await asyncio.gather(crowd.many(2), asyncio.sleep(WALK_SECONDS))
        asked.set()
        await others

    wanted, off = await on_the_way(trial.killer, walk)
    enough = asyncio.Event()
    busy = asyncio.gather(
        crowd.keep_coming(AT_ONCE, enough),
        crowd.ask_for_codes(enough),
        crowd.come_and_go(enough),
        crowd.register_systems(enough),
    )
    try:
        fired, missed = await sweep(trial.killer, wanted, seconds=seconds)
    finally:
        enough.set()
    await busy
    trial.notes["points"] = {"fired": fired, "missed": missed, "off_the_way": off}
    trial.violations += [
        Violation("points", f"nobody ever came to {point}", True) for point in missed
    ]
    await trial.settle()


async def store_lost(trial: Trial, *, journeys: int = 4) -> None:
    """NATS loses its store while events lie in it that nobody has handled yet."""
    crowd: Crowd = trial.crowd
    walking = asyncio.create_task(crowd.many(journeys))
    await asyncio.sleep(2)
    with trial.killer.frozen("exchange", "helpdesk"):
        await asyncio.sleep(4)
        await trial.killer.lose_store()
        await asyncio.sleep(1)
        # What the broker had handed over already would wait in their sockets.
        trial.killer.kill("exchange")
        trial.killer.kill("helpdesk")
    lost = time.monotonic()
    await walking
    await trial.settle()
    trial.notes["settled_after"] = round(time.monotonic() - lost, 1)
