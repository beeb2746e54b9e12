"""The named crash points, found in the code so that none is forgotten, and the sweep over them."""

import ast
import asyncio
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from .. import arming
from ..programs import SERVICES
from .checks.events import listeners
from .evidence import Evidence
from .killer import Killer, until

_END = "end"
"""Behind the last point: armed at the start that follows the last death, it kills nobody."""
# Which of the kit's points a service passes depends on what it does.
_KIT = {"relay": "tells", "consumers": "listens", "inbox": "listens", "routing": "is asked"}


def _named(package: str) -> Iterator[tuple[str, str]]:
    """(module, point) of each `point("…")` in a package."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return
    for file in sorted(Path(spec.origin).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and node.args:
                called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                called = node.func.id if isinstance(node.func, ast.Name) else called
                first = node.args[0]
                if called == "point" and isinstance(first, ast.Constant):
                    yield file.stem, str(first.value)


def discover() -> dict[str, dict[str, str]]:
    """Service → its points, each with what the service must do to pass it ("" for its own)."""
    kit = {point: _KIT.get(module, "") for module, point in _named("kit")}
    return {
        program.name: kit | {point: "" for _, point in _named(program.package)}
        for program in SERVICES
    }


def on_the_way(before: Evidence, evidence: Evidence) -> dict[str, list[str]]:
    """Service → the points that journeys like those since `before` pass."""
    old = {event.id for event in before.told}
    telling = {event.service for event in evidence.told if event.id not in old}
    does = {
        program.name: {
            "": True,
            "tells": program.name in telling,
            "listens": any(service == program.name for service, _, _ in listeners()),
            "is asked": bool(evidence.rows(program.name, "idempotency_key")),
        }
        for program in SERVICES
    }
    return {
        service: passed
        for service, points in discover().items()
        if (passed := sorted(name for name, needs in points.items() if does[service][needs]))
    }


async def sweep(
    killer: Killer, wanted: Mapping[str, list[str]], *, seconds: float
) -> tuple[list[str], list[str]]:
    """Let every service die at each of its points, one after the other, all services at once,
    while others keep the platform busy. Gives (fired, never reached) as `service.point`."""
    data = killer.data
    for service, points in wanted.items():
        arming.queue(data, service, [*points, _END])
    # The first point is armed at the next start.
    await asyncio.gather(*(killer.restart(service) for service in wanted))
    await until(lambda: not any(arming.left(data, service) for service in wanted), seconds)
    fired, missed = [], []
    for service, points in wanted.items():
        left = len(arming.left(data, service))
        # The point before the ones that are left is armed and has not killed yet.
        reached = len(points) if left == 0 else len(points) - left
        fired += [f"{service}.{point}" for point in points[:reached]]
        missed += [f"{service}.{point}" for point in points[reached:]]
        arming.queue(data, service, [])
    killer.struck.extend(f"crash {point}" for point in fired)
    return fired, missed
