"""Journeys while things die. The command `beam faults` does the same for longer."""

import ast
import asyncio
from pathlib import Path
from typing import Any

import pytest

from beam import arming
from beam.environment import Environment
from beam.faults import phases, points, power, volumes
from beam.faults.checks import CHECKS, INVARIANTS
from beam.faults.detours import Detours
from beam.faults.plants import PLANTS
from beam.faults.trial import Trial
from beam.place import Place
from beam.programs import BY_NAME, PROGRAMS
from beam.provision import Database
from beam.secret_store import SecretStore
from beam.trouble import Trouble
from kit import crash


@pytest.mark.long
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


@pytest.mark.long
async def test_power_cut(tmp_path: Path) -> None:
    if (why := volumes.unavailable()) is not None:
        pytest.skip(why)
    tmp_path.chmod(0o711)
    report = await power.cut_off(tmp_path, cuts=1, journeys=2, seed=1)
    assert report["violations"] == []


@pytest.mark.long
async def test_a_database_that_does_not_wait_for_its_disk_is_seen(tmp_path: Path) -> None:
    """Without this the power cut could be one that cuts nothing."""
    if (why := volumes.unavailable()) is not None:
        pytest.skip(why)
    tmp_path.chmod(0o711)
    try:
        report = await power.cut_off(tmp_path, cuts=1, journeys=4, seed=1, bug="unsynced")
    except Trouble:
        return  # what was left of it does not even start
    assert report["violations"] != []


async def test_a_road_that_is_bad() -> None:
    """What passes through the proxy, and when nothing does."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    async def said(line: bytes) -> bytes:
        writer.write(line)
        async with asyncio.timeout(5):
            return await reader.readline()

    with Detours() as detours:
        road = detours.roads["case"]
        server = await asyncio.start_server(echo, "127.0.0.1", road.target)
        reader, writer = await asyncio.open_connection("127.0.0.1", road.port)
        assert await said(b"good\n") == b"good\n"
        with detours.bad("blackhole", "case"):
            waiting = asyncio.create_task(said(b"later\n"))
            await asyncio.sleep(0.3)
            assert not waiting.done()
        assert await waiting == b"later\n"
        with detours.bad("refuse", "case"):
            try:
                answer = await said(b"never\n")
            except ConnectionError:
                answer = b""
            assert answer == b""
        writer.close()
        server.close()


def test_programs_take_the_detour(tmp_path: Path) -> None:
    store = SecretStore(tmp_path)
    url = "postgresql+asyncpg://beam_case:x@127.0.0.1:9032/beam_case"
    databases = {"case": Database("case", url, url)}
    near = Environment(Place(tmp_path, 9000), store, databases, "nats://127.0.0.1:9022", {})
    far = Environment(Place(tmp_path, 9000, 9500), store, databases, "nats://127.0.0.1:9022", {})
    case = BY_NAME["case"]
    assert near.of(case)["BEAM_DATABASE_URL"] == url
    assert "127.0.0.1:9532/" in far.of(case)["BEAM_DATABASE_URL"]
    assert far.of(case)["BEAM_NATS_URL"] == "nats://127.0.0.1:9522"
    assert far.of(case)["BEAM_ISSUER"] == near.of(case)["BEAM_ISSUER"]
    assert far.of(case)["BEAM_PORT"] == "9003"


def test_points_wait_in_line(tmp_path: Path) -> None:
    assert arming.take(tmp_path, "case") == ""
    arming.queue(tmp_path, "case", ["c1", "c2:3"])
    assert [arming.take(tmp_path, "case") for _ in range(3)] == ["c1", "c2:3", ""]
    assert arming.left(tmp_path, "case") == []


def test_points_that_are_passed_are_written_down(tmp_path: Path) -> None:
    arming.queue(tmp_path, "case", [arming.WATCH])
    orders: dict[str, dict[str, Any]] = {
        "case": {"env": {}, "crash": arming.take(tmp_path, "case")}
    }
    assert arming.passed(tmp_path, "case") == set()
    arming.arm(orders)
    for name in ("c1", "c2", "c1"):
        crash.point(name)
    crash.arm("", "")
    crash.point("c3")
    assert arming.passed(tmp_path, "case") == {"c1", "c2"}


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
    assert {bug for plant in PLANTS for bug in plant.bugs.split(",") if bug} <= asked
    assert all(plant.checks <= CHECKS.keys() for plant in PLANTS)
    assert len(PLANTS) >= 25
    assert {n for plant in PLANTS for n in plant.invariants} == INVARIANTS.keys()
