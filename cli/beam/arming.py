"""Crash points and planted bugs for the programs that `beam run` forks; see `kit.crash`.

A program's crash points wait in `armed/<program>` in the data folder, one a line. Each time the
supervisor starts the program it takes the first line away and arms it, so the program dies there
once and starts again with the next. The line `?` kills nobody: the program writes each point that
it passes into `armed/<program>.passed`. Without the file nothing is read but its absence. Bugs are
planted in all programs by BEAM_PLANT of the supervisor. Neither works in production.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kit import crash

WATCH = "?"


def queue(data: Path, program: str, points: Sequence[str]) -> None:
    """Have `program` die at these points (`name` or `name:passes`), one after the other. The
    first is armed at its next start."""
    file = _file(data, program)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text("".join(f"{point}\n" for point in points))
    fresh.replace(file)


def left(data: Path, program: str) -> list[str]:
    """The points that no start has taken yet."""
    file = _file(data, program)
    return file.read_text().split() if file.exists() else []


def passed(data: Path, program: str) -> set[str]:
    """The points that `program` has passed since it was started with `?`."""
    file = _file(data, f"{program}.passed")
    return set(file.read_text().split()) if file.exists() else set()


def take(data: Path, program: str) -> str:
    """The next point of `program`, taken away from its file; empty when there is none."""
    points = left(data, program)
    if not points:
        return ""
    queue(data, program, points[1:])
    return str(_file(data, f"{program}.passed")) if points[0] == WATCH else points[0]


def arm(programs: Mapping[str, Mapping[str, Any]]) -> None:
    """In the forked process: arm what its orders (name → env, crash) say."""
    orders = list(programs.values())
    if any(order["env"].get("BEAM_ENVIRONMENT") == "production" for order in orders):
        return
    points = [order["crash"] for order in orders if order.get("crash")]
    files = [point for point in points if "/" in point]
    deadly = [point for point in points if "/" not in point]
    crash.arm(",".join(deadly), orders[0]["env"].get("BEAM_PLANT", ""))
    for file in files:
        crash.watch(functools.partial(_keep, Path(file)))


def _keep(file: Path, point: str) -> None:
    with file.open("a") as passed_points:
        passed_points.write(f"{point}\n")


def _file(data: Path, program: str) -> Path:
    return data / "armed" / program
