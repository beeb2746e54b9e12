"""Journeys while things die. The command `beam faults` does the same for longer."""

import ast
from pathlib import Path

import pytest

from beam import arming
from beam.faults import phases, points
from beam.faults.checks import CHECKS
from beam.faults.plants import PLANTS
from beam.faults.trial import Trial
from beam.programs import PROGRAMS


async def test_journeys_under_fire(victim: Trial) -> None:
    before = len(victim.crowd.outcomes)
    await phases.under_fire(victim, journeys=4, seconds=8)
    assert victim.violations == [], victim.notes
    assert len(victim.crowd.outcomes) == before + 4
    assert len(victim.killer.struck) >= 3


@pytest.mark.long
async def test_store_lost(victim: Trial) -> None:
    await phases.store_lost(victim, journeys=2)
    assert victim.violations == []


def test_points_wait_in_line(tmp_path: Path) -> None:
    assert arming.take(tmp_path, "case") == ""
    arming.queue(tmp_path, "case", ["c1", "c2:3"])
    assert [arming.take(tmp_path, "case") for _ in range(3)] == ["c1", "c2:3", ""]
    assert arming.left(tmp_path, "case") == []


def test_the_points_are_found_in_the_code() -> None:
    found = points.discover()
    assert {"q1", "q2", "r1", "r2", "r3", "c1", "c2", "c3", "c4"} <= found["case"].keys()
    assert {"p1", "p6", "n0", "n1", "f4"} <= found["payment"].keys()
    assert "licence_issued" in found["licence"]
    assert "licence_issued" not in found["case"]


def test_every_plant_is_in_the_code() -> None:
    """A plant whose name nobody asks for would be caught by nobody, or by chance."""
    asked: set[str] = set()
    root = Path(__file__).resolve().parents[2]
    for package in ("kit", *(program.package for program in PROGRAMS)):
        for file in root.glob(f"*/{package}/**/*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("planted"):
                    asked.update(ast.literal_eval(argument) for argument in node.args)
    assert {bug for plant in PLANTS for bug in plant.bugs.split(",")} <= asked
    assert all(plant.checks <= CHECKS.keys() for plant in PLANTS)
    assert len(PLANTS) >= 12
