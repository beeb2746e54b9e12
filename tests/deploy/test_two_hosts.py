"""Two hosts with every program, one PostgreSQL, three brokers, as in docs/scale.md: journeys go
in at both doors while a broker dies, then each service of the first host; all books hold."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beam.demo import free_port_base
from beam.environment import broker_accounts
from beam.faults.crowd import Crowd
from beam.faults.trial import trial
from beam.installation import consumers
from beam.journey.stage import Place
from beam.programs import SERVICES
from beam.secret_store import SecretStore
from kit.embedded import NatsCluster, PostgresServer

pytestmark = pytest.mark.long
PATIENCE_SECONDS = 180.0
WHAT_HOSTS_SHARE = ("secrets.json", "clients.json", "vault", "keys")


@contextmanager
def host(data: Path, *arguments: str, base: int, **environment: str) -> Iterator[Path]:
    """A host's programs; gives its run.json."""
    env = os.environ | {"BEAM_DATA": str(data), "BEAM_PORT_BASE": str(base)} | environment
    with data.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "beam", "run", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            end = time.monotonic() + 120
            while not (data / "run.json").exists():
                assert process.poll() is None, data.with_suffix(".log").read_text()[-2000:]
                assert time.monotonic() < end
                time.sleep(0.1)
            yield data / "run.json"
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[tuple[Path, Path, NatsCluster]]:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(mode=0o700)
    two.mkdir(mode=0o700)
    cluster = NatsCluster.temporary(broker_accounts(SecretStore(one), consumers()))
    try:
        await asyncio.to_thread(cluster.start)
        with PostgresServer.temporary() as postgres:
            first, second = free_port_base(), free_port_base()
            shared = {
                "BEAM_POSTGRES_URL": postgres.dsn(),
                "BEAM_NATS_URL": cluster.url,
                "BEAM_NATS_REPLICAS": "3",
                "BEAM_ISSUER": f"http://127.0.0.1:{first}",
            }
            with host(one, base=first, **shared):
                for name in WHAT_HOSTS_SHARE:
                    kept = one / name
                    (shutil.copytree if kept.is_dir() else shutil.copy)(kept, two / name)
                only = [f"--only={p.name}" for p in SERVICES]
                sandbox = {"BEAM_SANDBOX_URL": Place.read(one / "run.json").sandbox}
                with host(two, *only, "--only=gateway", base=second, **shared, **sandbox):
                    yield one, two, cluster
    finally:
        await asyncio.to_thread(cluster.stop)


async def test_two_hosts_and_three_brokers(hosts: tuple[Path, Path, NatsCluster]) -> None:
    one, two, cluster = hosts
    async with trial(one, seed=1, patience=PATIENCE_SECONDS) as first:
        place = first.crowd.place
        second = Crowd(
            Place(
                Place.read(two / "run.json").gateway, place.sandbox, place.accounts, place.partners
            ),
            PATIENCE_SECONDS,
        )
        try:
            walking = asyncio.gather(first.crowd.many(6, over=8), second.many(6, over=8))
            await asyncio.sleep(3)
            leader = cluster.leader()
            os.kill(leader.pid, signal.SIGKILL)
            await asyncio.sleep(4)
            for program in SERVICES:
                first.killer.kill(program.name)
                await asyncio.sleep(0.5)
            while leader.poll() is None:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(leader.start)
            await walking
        finally:
            await second.close()
        first.crowd.answers += second.answers
        first.crowd.outcomes += second.outcomes
        first.crowd.wishes |= second.wishes
        assert await first.settle() == [], first.notes
        assert len(first.crowd.outcomes) == 12
        assert len(first.killer.struck) == len(SERVICES)
        await asyncio.to_thread(cluster.wait)
