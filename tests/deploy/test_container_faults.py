"""Containers die, lose their network, are doubled; the engine starts again. With the real thing."""

import asyncio
import os
import secrets
import signal
import subprocess
from typing import Any

import httpx
import pytest

from beam.journey.door import Door
from beam.journey.stage import until

from .conftest import LOGIN, PASSWORD, Stack, docker, later, look_up, open_case

pytestmark = pytest.mark.long
SERVICES = (
    "identity", "catalog", "case", "licence", "payment", "logistics", "helpdesk", "exchange",
)  # fmt: skip
RUNNING = (*SERVICES, "gateway", "sandbox", "proxy", "nats", "postgres")
RESTART = os.environ.get("BEAM_TEST_RESTART_ENGINE", "")
AWAY = {502, 503, 504}


def smoke(stack: Stack) -> None:
    assert "全部通过" in stack.compose("run", "--rm", "--no-deps", "smoke")


async def ready(stack: Stack, door: Door) -> None:
    async def all_there() -> bool:
        try:
            answer = await door.client.get("/health/ready")
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and answer.json()["degraded"] == []

    await until(all_there, "the platform does not get whole again", seconds=120)


async def test_each_container_dies_once_and_nothing_promised_is_lost(stack: Stack):
    door = stack.caller("citizen")
    await door.sign_in(LOGIN, PASSWORD)
    promised: list[str] = []

    async def promise(door: Door, n: int) -> Any:
        answer = await open_case(door, n)
        if answer.is_success:
            promised.append(answer.json()["id"])
        return answer

    async with stack.asked(door, promise) as answers:
        for service in RUNNING:
            (container,) = stack.containers(service)
            pid = docker("inspect", "-f", "{{.State.Pid}}", container)
            # (Not `docker kill`: the engine would take that for our wish and leave it dead.)
            os.kill(int(pid), signal.SIGKILL)

            async def back(container: str = container, pid: str = pid) -> bool:
                state = await asyncio.to_thread(
                    docker, "inspect", "-f", "{{.State.Pid}} {{.State.Health.Status}}", container
                )
                return not state.startswith(f"{pid} ") and state.endswith(" healthy")

            await until(back, f"{service} does not come back", seconds=120)
            await ready(stack, door)
            seen = answers.good
            await until(lambda seen=seen: later(lambda: answers.good > seen + 5), "no answers")  # type: ignore[misc]
    # Nobody was told anything but "not now" (or the connection broke: the name of an error).
    other = [x for x in answers.bad if x[0].isdigit() and int(x.split()[0]) not in AWAY]
    assert other == [], f"of {len(answers.bad)}"
    assert len(set(promised)) == len(promised) > 50
    for case in promised:
        await door.call("GET", f"/v1/cases/{case}", status=200)
    await door.close()
    smoke(stack)


@pytest.mark.parametrize(
    ("service", "network"), [("postgres", "data"), ("payment", "mesh"), ("gateway", "edge")]
)
async def test_who_loses_the_network_finds_it_again(stack: Stack, service: str, network: str):
    door = stack.caller("citizen")
    await door.sign_in(LOGIN, PASSWORD)
    (container,) = stack.containers(service)
    docker("network", "disconnect", stack.network(network), container)
    try:

        async def noticed() -> bool:
            try:
                answer = await door.client.get("/health/ready")
            except httpx.HTTPError:
                return service == "gateway"
            if service == "gateway":
                return not answer.is_success
            return service == "postgres" or service in answer.json()["degraded"]

        await until(noticed, f"nobody sees that {service} is away", seconds=60)
        if service == "payment":
            # The others work on.
            assert (await look_up(door, 0)).status_code == 200
            assert (await open_case(door, secrets.randbelow(10**9))).status_code == 201
        if service == "postgres":
            answer = await open_case(door, secrets.randbelow(10**9))
            assert answer.status_code in AWAY, answer.text
            assert answer.headers["content-type"].startswith("application/problem+json")
    finally:
        docker("network", "connect", "--alias", service, stack.network(network), container)
    await ready(stack, door)
    await door.close()
    smoke(stack)


async def test_two_of_each_are_replaced_and_one_of_each_may_die(stack: Stack):
    doubled = (*SERVICES, "gateway")
    scales = [word for name in doubled for word in ("--scale", f"{name}=2")]
    stack.compose("up", "-d", "--no-recreate", "--wait", *scales, *doubled)
    try:
        assert [len(stack.containers(name)) for name in doubled] == [2] * len(doubled)
        smoke(stack)
        door = stack.caller("citizen")
        await door.sign_in(LOGIN, PASSWORD)
        async with stack.asked(door, look_up) as looks, stack.asked(door, open_case) as cases:
            await asyncio.to_thread(stack.host, "roll", "all")
        assert (looks.bad, cases.bad) == ([], [])
        assert cases.good > 50
        assert [len(stack.containers(name)) for name in doubled] == [2] * len(doubled)
        async with stack.asked(door, look_up) as looks, stack.asked(door, open_case) as cases:
            for name in doubled:
                first = stack.containers(name)[0]
                os.kill(int(docker("inspect", "-f", "{{.State.Pid}}", first)), signal.SIGKILL)
                await stack.healthy(name, 2)
        assert looks.bad == []
        assert looks.good > 100
        # A request that a dying program had taken in may be told so; asked again it is done once.
        assert all(int(text.split()[0]) in AWAY for text in cases.bad), cases.bad
        assert cases.good > 100
        await door.close()
        smoke(stack)
    finally:
        scales = [word for name in doubled for word in ("--scale", f"{name}=1")]
        stack.compose("up", "-d", "--no-recreate", "--wait", *scales, *doubled)


@pytest.mark.skipif(
    not RESTART, reason="BEAM_TEST_RESTART_ENGINE does not say how the Docker engine is restarted"
)
async def test_the_engine_starts_again_and_everything_comes_back(stack: Stack):
    """Nobody runs compose after a restart of the host: the restart policy has to do."""
    door = stack.caller("citizen")
    await door.sign_in(LOGIN, PASSWORD)
    case = (await open_case(door, secrets.randbelow(10**9))).json()["id"]
    await asyncio.to_thread(subprocess.run, RESTART, shell=True, check=True, timeout=300)
    for service in RUNNING:
        await stack.healthy(service, 1)
    await ready(stack, door)
    assert (await door.get(f"/v1/cases/{case}"))["id"] == case
    await door.close()
    smoke(stack)
