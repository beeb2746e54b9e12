"""Planted bugs: each is switched on in a platform of its own, and a check has to find it.

A bug that the second line of defence hides is planted together with the loss of that line, and
where it shows only after a death, the process dies at the named point.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from .. import arming
from ..demo import started
from .checks import Violation
from .killer import until
from .trial import Trial, trial

PATIENCE = 40.0
"""Seconds that a caller waits: a journey that a bug has stopped need not be waited for."""
QUIET_SECONDS = 45.0
Scene = Callable[[Trial], Any]


async def _walk(trial: Trial) -> None:
    await trial.crowd.many(2)


async def _walk_at_once(trial: Trial) -> None:
    await trial.crowd.many(12)


async def _lose_store(trial: Trial) -> None:
    """Events lie in the store, unhandled, when it goes."""
    with trial.killer.frozen("exchange", "helpdesk"):
        await trial.crowd.walk("refused")
        await trial.killer.lose_store()
        await asyncio.sleep(2)


async def _lose_sessions(trial: Trial) -> None:
    """The database is down and stays down when those wake up for whom events wait."""
    with trial.killer.frozen("exchange", "helpdesk"):
        await trial.crowd.walk("refused")
        trial.killer.kill("postgres")
    await until(lambda: trial.killer.kill("postgres") and False, seconds=8)


@dataclass(frozen=True)
class Plant:
    """`bugs` as for BEAM_PLANT, `points` where services die, `checks` one of which must see it."""

    name: str
    bugs: str
    checks: frozenset[str]
    scene: Scene = _walk
    points: Mapping[str, Sequence[str]] = field(default_factory=dict)


def _plant(name: str, *checks: str, bugs: str = "", **more: Any) -> Plant:
    return Plant(name, bugs or name, frozenset(checks), **more)


PLANTS = (
    _plant(
        "mark_before_publish",
        "feed_complete",
        "handled_once",
        points={"case": ["r1:2", "r1:2"]},
    ),
    _plant("no_refill", "feed_complete", "handled_once", scene=_lose_store),
    _plant("ack_first", "handled_once", points={"payment": ["c2"]}),
    _plant("no_inbox", "handled_once"),
    _plant(
        "shipment_per_delivery",
        "one_effect",
        bugs="shipment_per_delivery,no_inbox",
        points={"logistics": ["c3"]},
    ),
    _plant("swallow_errors", "handled_once", scene=_lose_sessions),
    _plant("watermark", "outbox_sent", scene=_walk_at_once),
    _plant("event_forgotten", "timeline", "transitions"),
    _plant("version_stands_still", "versions"),
    _plant("no_dept", "departments"),
    _plant("no_idempotency", "accepted", "same_key_same_answer"),
    _plant("answer_without_commit", "accepted"),
    _plant("case_not_locked", "timeline", scene=_walk_at_once),
    _plant("new_trade_no_per_try", "one_charge", points={"payment": ["p3"]}),
    _plant(
        "acknowledge_unread",
        "paid_agrees",
        "nothing_pending",
        bugs="acknowledge_unread,no_sweep",
    ),
    _plant("no_booking", "ledger_balanced"),
    _plant("refund_believed_unasked", "refunds_within_paid"),
    _plant("new_order_no_per_try", "one_effect", points={"logistics": ["ship_after_place"]}),
)


async def _seen(data: Path, plant: Plant) -> list[Violation]:
    async with trial(data, seed=1, patience=PATIENCE) as the:
        for service, points in plant.points.items():
            arming.queue(data, service, points)
        await asyncio.gather(*(the.killer.restart(service) for service in plant.points))
        await plant.scene(the)
        return await the.settle(seconds=QUIET_SECONDS, until=plant.checks)


def hunt(
    console: Console,
    folder: Callable[[], AbstractContextManager[Path]],
    chosen: Sequence[Plant] = PLANTS,
) -> dict[str, Any]:
    """Plant one bug after the other; gives what was planted, caught (with the checks that saw
    it) and missed."""
    seen: dict[str, list[str]] = {}
    with folder() as place:
        # Every platform begins as a copy of one that has stopped: migrated, seeded, empty.
        with started(place / "data"):
            pass
        for plant in chosen:
            data = place / "planted"
            subprocess.run(["cp", "-a", str(place / "data"), str(data)], check=True)
            with started(data, BEAM_PLANT=plant.bugs):
                found = asyncio.run(_seen(data, plant))
            shutil.rmtree(data)
            seen[plant.name] = sorted({v.check for v in found})
            caught = bool(plant.checks & set(seen[plant.name]))
            console.print(f"{'✓' if caught else '✗'} {plant.name}: {', '.join(seen[plant.name])}")
    missed = [plant.name for plant in chosen if not plant.checks & set(seen[plant.name])]
    return {
        "planted": len(chosen),
        "caught": len(chosen) - len(missed),
        "missed": missed,
        "seen_by": seen,
    }
