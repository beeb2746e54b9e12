"""The broker's disk without a free byte, then the database's: nobody is told what is not so, and
when there is room again everything goes on without a hand."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from beam.journey.door import Door
from beam.journey.stage import until

from .conftest import (
    LOGIN,
    PASSWORD,
    Stack,
    configured,
    docker,
    engine_or_reason,
    later,
    open_case,
    source,
    take_down,
)

pytestmark = pytest.mark.long
MEGABYTES = {"nats-data": (64, 10001), "postgres-data": (700, 70)}
"""Volume → its size, its owner."""
FULL_SECONDS = 20.0


@dataclass
class Tight:
    """An installation whose volumes are small, and a container that holds them: it fills them."""

    stack: Stack
    holder: str

    def fill(self, volume: str) -> None:
        docker("exec", self.holder, "sh", "-c", f"cat /dev/zero >/{volume}/fill", check=False)

    def empty(self, volume: str) -> None:
        docker("exec", self.holder, "rm", "-f", f"/{volume}/fill")


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tight]:
    reason = engine_or_reason()
    if reason is not None:
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("tight")
    source(root)
    stack = configured(root / "deploy", root)
    with (stack.folder / ".env").open("a") as env:
        # What lies in a volume of memory counts as memory of who wrote it.
        env.write("POSTGRES_MEMORY=2g\nNATS_MEMORY=1g\n")
    tight = Tight(stack, f"{stack.project}-holder")
    mounts = []
    try:
        for volume, (size, owner) in MEGABYTES.items():
            name = f"{stack.project}_{volume}"
            options = f"o=size={size}m,uid={owner},gid={owner},mode=0700"
            docker(
                "volume", "create", "-d", "local", "-o", "type=tmpfs", "-o", "device=tmpfs",
                "-o", options, "--label", f"com.docker.compose.project={stack.project}",
                "--label", f"com.docker.compose.volume={volume}", name,
            )  # fmt: skip
            mounts += ["-v", f"{name}:/{volume}:nocopy"]
        # While somebody holds it, a volume in memory outlives the containers that use it.
        docker(
            "run", "-d", "--name", tight.holder, "--network", "none", "--user", "0", *mounts,
            "--entrypoint", "sleep", "postgres:17-alpine", "infinity",
        )  # fmt: skip
        stack.host("secrets")
        stack.host("up")
        yield tight
    finally:
        docker("rm", "-f", "-v", tight.holder, check=False)
        take_down(stack)
        for volume in MEGABYTES:
            docker("volume", "rm", "-f", f"{stack.project}_{volume}", check=False)


async def whole(stack: Stack, operator: Door) -> None:
    """Every service is ready and every event is sent."""

    async def settled() -> bool:
        try:
            await operator.sign_in("o01", PASSWORD)
            said = await operator.get("/v1/ops")
        except (AssertionError, httpx.HTTPError):
            return False
        return said["not_ready"] == said["unreachable"] == [] and not said["late_events"]

    await until(settled, "the platform does not get whole again", seconds=240)
    assert "全部通过" in stack.compose("run", "--rm", "--no-deps", "smoke")


async def said_and_taken_back(door: Door) -> None:
    """Two events: a tag that comes and goes."""
    for value in ("yes", "no"):
        body = {"value": value}
        await door.call("PUT", "/v1/me/profile/facts/veteran", body=body, status=200)


async def test_a_broker_with_a_full_disk_writes_again_by_itself(tight: Tight):
    stack = tight.stack
    door, operator = stack.caller("citizen"), stack.caller("operator")
    await door.sign_in(LOGIN, PASSWORD)
    await operator.sign_in("o01", PASSWORD)
    (nats,) = stack.containers("nats")

    async def waiting() -> bool:
        # Again and again: the last page of the broker's file takes some events even now.
        await said_and_taken_back(door)
        return bool((await operator.get("/v1/ops"))["late_events"])

    async with stack.asked(door, open_case) as cases:
        await until(lambda: later(lambda: cases.good > 20), "no answers")
        try:
            await asyncio.to_thread(tight.fill, "nats-data")
            await until(waiting, "operators do not see that events wait", seconds=90)
            seen = cases.good
            await asyncio.sleep(FULL_SECONDS)
            assert cases.good > seen, "work goes on, its events wait"
        finally:
            await asyncio.to_thread(tight.empty, "nats-data")
        await stack.healthy("nats", 1)
    assert cases.bad == []
    print(docker("inspect", "-f", "the broker restarted {{.RestartCount}} times", nats))
    await whole(stack, operator)
    await door.close()
    await operator.close()


async def test_a_database_with_a_full_disk_goes_on_by_itself(tight: Tight):
    stack = tight.stack
    door, operator = stack.caller("citizen"), stack.caller("operator")
    await door.sign_in(LOGIN, PASSWORD)
    promised: list[str] = []

    async def promise(door: Door, n: int) -> Any:
        answer = await open_case(door, n)
        if answer.is_success:
            promised.append(answer.json()["id"])
        return answer

    def use_up_the_log() -> bool:
        """It keeps room for its log in advance: written to until there is none left."""
        done = stack.compose(
            "exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "beam_case", "-c",
            "do $$ begin for n in 1..1000 loop perform "
            "pg_logical_emit_message(false, '', repeat('x', 1000000)); end loop; end $$",
            check=False,
        )  # fmt: skip
        return "DO" not in done

    async with stack.asked(door, promise) as cases:
        await until(lambda: later(lambda: cases.good > 20), "no answers")
        try:
            await asyncio.to_thread(tight.fill, "postgres-data")
            assert await asyncio.to_thread(use_up_the_log), "there is room"
            await until(lambda: later(lambda: len(cases.bad) > 0), "nobody feels it", seconds=60)
            await asyncio.sleep(FULL_SECONDS)
        finally:
            await asyncio.to_thread(tight.empty, "postgres-data")
        seen = cases.good
        await until(lambda: later(lambda: cases.good > seen + 20), "no answers", seconds=240)
    # Nobody was told anything but "not now" (or the connection broke: the name of an error).
    other = [x for x in cases.bad if x[0].isdigit() and x.split()[0] not in ("502", "503", "504")]
    assert other == [], f"of {len(cases.bad)}"
    (postgres,) = stack.containers("postgres")
    print(docker("inspect", "-f", "the database restarted {{.RestartCount}} times", postgres))
    await whole(stack, operator)
    for case in promised:
        await door.call("GET", f"/v1/cases/{case}", status=200)
    await door.close()
    await operator.close()
