"""The named crash points, found in the code so that none is forgotten, and the sweep over them."""

import ast
import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from .. import arming
from ..programs import SERVICES
from .killer import Killer, until

_END = "end"
"""Behind the last point: armed at the start that follows the last death, it kills nobody."""
_OFF = {
    "relay": "it tells nothing on these journeys",
    "consumers": "it hears nothing on these journeys",
    "inbox": "it hears nothing on these journeys",
    "routing": "nothing is written through it on these journeys",
}
"""Module of the kit → why a service does not pass its points."""


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
    """Service → its points, each with the module of the kit that has it ("" for its own)."""
    kit = {point: module for module, point in _named("kit")}
    return {
        program.name: kit | {point: "" for _, point in _named(program.package)}
        for program in SERVICES
    }


async def on_the_way(
    killer: Killer, walk: Callable[[], Awaitable[object]]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Watch which points are passed during `walk`. Gives service → those, and `service.point` →
    why not for the others."""
    found = discover()
    for service in found:
        arming.queue(killer.data, service, [arming.WATCH])
    await asyncio.gather(*(killer.restart(service) for service in found))
    await walk()
    passed = {service: arming.passed(killer.data, service) for service in found}
    off = {
        f"{service}.{point}": _OFF.get(module, "these journeys do not come there")
        for service, points in found.items()
        for point, module in points.items()
        if point not in passed[service]
    }
    return {service: sorted(points) for service, points in passed.items() if points}, off


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
