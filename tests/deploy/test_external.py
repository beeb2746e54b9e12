"""SERVERS=elsewhere with containers: PostgreSQL and three brokers that are no part of the
installation, as docs/scale.md says; one broker dies under work."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from beam.journey.stage import until

from .conftest import (
    LOGIN,
    PASSWORD,
    Stack,
    configured,
    docker,
    engine_or_reason,
    later,
    look_up,
    open_case,
    source,
    take_down,
)

pytestmark = pytest.mark.long
BROKERS = ("nats-1", "nats-2", "nats-3")


@dataclass
class Elsewhere:
    stack: Stack
    told: str
    """What `make up` said."""


def _brokers(stack: Stack, mark: str, at: str) -> list[str]:
    """Three brokers in a network of their own; their addresses as containers of others see them."""
    folder, password = stack.root / "accounts", f"r{secrets.token_hex(12)}"
    stack.host("accounts", str(folder))
    file = folder / "accounts.conf"
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)  # the broker runs as somebody else here
    folder.chmod(0o755)
    docker("network", "create", mark)
    for name in BROKERS:
        routes = ",".join(f"nats-route://route:{password}@{x}:6222" for x in BROKERS if x != name)
        docker(
            "run", "-d", "--name", f"{mark}-{name}", "--network", mark, "--network-alias", name,
            "--restart", "unless-stopped", "-p", f"{at}::4222",
            "-v", f"{stack.folder}/nats-cluster.conf:/etc/nats/nats-cluster.conf:ro",
            "-v", f"{file}:/etc/nats/accounts.conf:ro",
            "-e", f"NATS_NAME={name}", "-e", f"NATS_ROUTE_PASSWORD={password}",
            "nats:2.12-alpine", "nats-server", "--config", "/etc/nats/nats-cluster.conf",
            "--routes", routes,
        )  # fmt: skip
    return [_published(f"{mark}-{name}", "4222") for name in BROKERS]


def _published(container: str, port: str) -> str:
    """Where it is reached from outside; one that ended at once, and is started again, has none."""
    end = time.monotonic() + 60
    while not (said := docker("port", container, port, check=False)):
        assert time.monotonic() < end, docker("logs", "--tail", "30", container)
        time.sleep(0.5)
    return said.splitlines()[0]


def _database(stack: Stack, mark: str, at: str) -> str:
    password = stack.folder / "secrets" / "postgres_admin"
    docker(
        "run", "-d", "--name", f"{mark}-postgres", "-p", f"{at}::5432",
        "-v", f"{password}:/run/secrets/password:ro",
        "-e", "POSTGRES_PASSWORD_FILE=/run/secrets/password", "postgres:17-alpine",
        "postgres", "-c", "max_connections=200",
    )  # fmt: skip
    end = time.monotonic() + 120
    while "accepting" not in docker(
        "exec", f"{mark}-postgres", "pg_isready", "-h", "127.0.0.1", check=False
    ):
        assert time.monotonic() < end, docker("logs", f"{mark}-postgres")
        time.sleep(0.5)
    return _published(f"{mark}-postgres", "5432")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    reason = engine_or_reason()
    if reason is not None:
        pytest.skip(reason)
    root: Path = tmp_path_factory.mktemp("elsewhere")
    source(root)
    stack = configured(root / "deploy", root)
    mark = f"{stack.project}-elsewhere"
    # This host's address on the engine's own bridge: containers reach it, nobody outside does.
    at = docker("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    try:
        stack.host("secrets")
        database, brokers = _database(stack, mark, at), _brokers(stack, mark, at)
        with (stack.folder / ".env").open("a") as env:
            env.write(
                f"SERVERS=elsewhere\nPOSTGRES_HOST={database}\nNATS_REPLICAS=3\n"
                f"NATS_URL={','.join(f'nats://{broker}' for broker in brokers)}\n"
            )
        stack.host("preflight")
        yield Elsewhere(stack, stack.host("up"))
    finally:
        stack.host("compose", "--profile", "*", "down", "-v", "-t", "10")
        for name in (*BROKERS, "postgres"):
            docker("rm", "-f", "-v", f"{mark}-{name}", check=False)
        docker("network", "rm", mark, check=False)
        take_down(stack)


def smoke(stack: Stack) -> None:
    said = stack.host("compose", "--profile", "ops", "run", "--rm", "--no-deps", "smoke")
    assert "全部通过" in said


def test_it_comes_up_without_servers_of_its_own(elsewhere: Elsewhere):
    running = elsewhere.stack.host("compose", "ps", "--services").split()
    assert "case" in running
    assert not {"postgres", "nats"} & set(running)
    assert "docs/scale.md" in elsewhere.told
    smoke(elsewhere.stack)


async def kept_by_all(stack: Stack) -> None:
    """Waits until every copy of the stream is as the first. (`beam broker` ends with 1 until.)"""
    run = ("compose", "--profile", "ops", "run", "--rm", "--no-deps", "smoke", "broker")

    async def is_current() -> bool:
        return (await asyncio.to_thread(stack.tried, *run)).stdout.count("一致 / current") >= 2

    await until(is_current, "a copy of the events lags", seconds=90)


async def test_events_are_kept_three_times(elsewhere: Elsewhere):
    await kept_by_all(elsewhere.stack)


def test_what_is_not_here_is_not_backed_up_here(elsewhere: Elsewhere):
    with pytest.raises(AssertionError, match="PostgreSQL is elsewhere"):
        elsewhere.stack.host("backup")


async def test_one_of_three_brokers_dies_and_nobody_notices(elsewhere: Elsewhere):
    stack = elsewhere.stack
    door = stack.caller("citizen")
    await door.sign_in(LOGIN, PASSWORD)
    broker = f"{stack.project}-elsewhere-nats-1"
    await kept_by_all(stack)
    async with stack.asked(door, open_case) as cases, stack.asked(door, look_up) as looks:
        await until(lambda: later(lambda: cases.good > 20), "no answers")
        await asyncio.to_thread(docker, "kill", broker)
        await asyncio.to_thread(smoke, stack)
        seen = cases.good
        await until(lambda: later(lambda: cases.good > seen + 20), "no answers after it")
    assert cases.bad == []
    assert looks.bad == []
    docker("start", broker)
    await kept_by_all(stack)
    await door.close()


async def test_an_upgrade_leaves_them_alone(elsewhere: Elsewhere):
    stack = elsewhere.stack
    door = stack.caller("citizen")
    await door.sign_in(LOGIN, PASSWORD)
    async with stack.asked(door, open_case) as cases:
        said = await asyncio.to_thread(stack.host, "upgrade")
    assert cases.bad == []
    assert "全部通过" in said
    assert "make restore" not in said
    await door.close()
