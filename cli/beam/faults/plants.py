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
from ..reports import code
from . import scenes
from .checks import INVARIANTS, Violation
from .scenes import Act, Scene
from .trial import trial

PATIENCE = 40.0
"""Seconds that a caller waits: a journey that a bug has stopped need not be waited for."""
CALM_PATIENCE = 180.0
"""The same where no bug is planted."""
BUG_SECONDS, CALM_SECONDS = 45.0, 90.0
"""How long one looks for a violation, and how long everything may take to come right."""


@dataclass(frozen=True)
class Plant:
    """`bugs` as for BEAM_PLANT, `points` where services die, `checks` one of which must see it."""

    name: str
    bugs: str
    checks: frozenset[str]
    scene: Scene = scenes.walk
    points: Mapping[str, Sequence[str]] = field(default_factory=dict)
    act: Act | None = None
    """What somebody does to the running platform, for bugs that are no line of code."""

    @property
    def invariants(self) -> list[str]:
        return [n for n, (_, checks) in INVARIANTS.items() if self.checks & {*checks}]


def _plant(name: str, *checks: str, bugs: str | None = None, **more: Any) -> Plant:
    return Plant(name, name if bugs is None else bugs, frozenset(checks), **more)


PLANTS = (
    # I1, I2: what was answered
    _plant("answer_without_commit", "accepted"),
    _plant("no_idempotency", "accepted", "same_key_same_answer"),
    _plant("transaction_left_open", "accepted"),
    _plant("kept_unasked", "accepted", points={"case": ["q2"]}),
    _plant("lookup_crossed", "answers_fit", scene=scenes.walk_at_once),
    # I3 – I8: money
    _plant("new_trade_no_per_try", "one_charge", points={"payment": ["p3"]}),
    _plant(
        "acknowledge_unread",
        "paid_agrees",
        "nothing_pending",
        bugs="acknowledge_unread,no_sweep",
    ),
    _plant("no_booking", "ledger_balanced"),
    _plant("fen_lost", "channel_statement"),
    _plant("ledger_may_be_edited", "append_only", bugs="", act=scenes.grant_too_much),
    _plant("refund_believed_unasked", "refunds_within_paid"),
    _plant("new_refund_no_per_try", "refunds_within_paid", points={"payment": ["f2"]}),
    # I9: states
    _plant("case_not_locked", "timeline", scene=scenes.walk_at_once),
    _plant("event_forgotten", "timeline", "transitions"),
    # I10, I11: events
    _plant(
        "mark_before_publish",
        "feed_complete",
        "handled_once",
        points={"case": ["r1:2", "r1:2"]},
    ),
    _plant("no_refill", "feed_complete", "handled_once", scene=scenes.lose_store),
    _plant("ack_first", "handled_once", points={"payment": ["c2"]}),
    _plant("no_inbox", "handled_once"),
    _plant("effect_lost", "one_effect", "feed_complete"),
    _plant("feed_gap", "feed_complete"),
    _plant(
        "shipment_per_delivery",
        "one_effect",
        bugs="shipment_per_delivery,no_inbox",
        points={"logistics": ["c3"]},
    ),
    _plant("new_order_no_per_try", "one_effect", points={"logistics": ["ship_after_place"]}),
    _plant("swallow_errors", "handled_once", scene=scenes.lose_sessions),
    _plant("version_stands_still", "versions"),
    # I12: nothing waits
    _plant("watermark", "outbox_sent", scene=scenes.walk_at_once),
    # I13: story and trail
    _plant("story_edited", "timeline", bugs="", act=scenes.edit_story),
    _plant("story_cut", "timeline", bugs="", act=scenes.cut_story),
    _plant("no_trail", "staff_trail"),
    _plant("trail_edited", "sealed", bugs="", act=scenes.edit_trail),
    _plant("trail_cut", "sealed", bugs="", act=scenes.cut_trail),
    # I14: departments
    _plant("no_dept", "departments"),
    # I15: deadlines
    _plant("expires_early", "deadlines", scene=scenes.pay_late),
    _plant("pause_forgotten", "deadlines"),
    _plant("clock_not_stopped", "deadlines"),
    # I16: licences
    _plant("revocation_unlisted", "licence_status", scene=scenes.revoke),
)
NAMES = tuple(plant.name for plant in PLANTS)


def chosen(names: Sequence[str]) -> Sequence[Plant]:
    """The plants of these names, all without any."""
    return [plant for plant in PLANTS if not names or plant.name in names]


async def _seen(data: Path, plant: Plant, *, buggy: bool) -> list[Violation]:
    patience = PATIENCE if buggy else CALM_PATIENCE
    async with trial(data, seed=1, patience=patience) as the:
        for service, points in plant.points.items():
            arming.queue(data, service, points)
        await asyncio.gather(*(the.killer.restart(service) for service in plant.points))
        await plant.scene(the)
        if buggy and plant.act is not None:
            await plant.act(the)
        seconds, checks = (BUG_SECONDS, plant.checks) if buggy else (CALM_SECONDS, ())
        return await the.settle(seconds=seconds, until=checks)


def _play(place: Path, plant: Plant, *, buggy: bool) -> list[Violation]:
    """In a platform that begins as a copy of one that has stopped: migrated, seeded, empty."""
    data = place / "planted"
    subprocess.run(["cp", "-a", str(place / "data"), str(data)], check=True)
    try:
        with started(data, BEAM_PLANT=plant.bugs if buggy else ""):
            return asyncio.run(_seen(data, plant, buggy=buggy))
    finally:
        shutil.rmtree(data)


def hunt(
    console: Console,
    folder: Callable[[], AbstractContextManager[Path]],
    plants: Sequence[Plant] = PLANTS,
) -> dict[str, Any]:
    """Plant one bug after the other, and play each scene without: gives what was planted, caught
    (with the checks that saw it), missed, and the scenes in which something is wrong anyway."""
    seen: dict[str, dict[str, Any]] = {}
    controls: dict[str, list[str]] = {}
    with folder() as place:
        with started(place / "data"):
            pass
        for plant in plants:
            scene = f"{plant.scene.__name__} {dict(plant.points) or ''}".strip()
            if scene not in controls:
                found = _play(place, plant, buggy=False)
                controls[scene] = sorted({f"{v.check}: {v.what}" for v in found})
                _tell(console, not found, f"({scene})", controls[scene])
            found = _play(place, plant, buggy=True)
            checks = sorted({v.check for v in found})
            caught = bool(plant.checks & {*checks})
            seen[plant.name] = {
                "invariants": plant.invariants,
                "scene": scene,
                "seen_by": checks,
                "caught": caught,
                "code": code(),
            }
            _tell(console, caught, plant.name, checks)
    return summed(seen, controls)


def summed(
    plants: Mapping[str, Mapping[str, Any]], scenes: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The report: `plants` by name, `scenes` with what was wrong in them without a bug."""
    missed = [name for name, one in plants.items() if not one["caught"]]
    return {
        "planted": len(plants),
        "caught": len(plants) - len(missed),
        "missed": missed,
        "control_failed": {scene: found for scene, found in scenes.items() if found},
        "controls": len(scenes),
        "plants": dict(plants),
        "scenes": dict(scenes),
    }


def joined(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Two reports as one, so that the bugs may be planted in several runs; what both have is as
    the later one says. Bugs that are planted no more are left out."""
    plants = {**before.get("plants", {}), **now["plants"]}
    plants = {name: one for name, one in plants.items() if name in NAMES}
    scenes = {**before.get("scenes", {}), **now["scenes"]}
    played = {one["scene"] for one in plants.values()}
    return summed(plants, {name: found for name, found in scenes.items() if name in played})


def _tell(console: Console, good: bool, what: str, found: Sequence[str]) -> None:
    console.print(f"{'✓' if good else '✗'} {what}: {', '.join(found)}", markup=False)
