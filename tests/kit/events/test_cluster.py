"""Three brokers that keep every event three times, two processes of each service: one broker dies,
comes back, another loses its disk; every event has its effect once."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import Event
from kit.embedded import NatsCluster, NatsServer
from kit.inbox import Meta
from kit.testing import until

pytestmark = pytest.mark.long
WAVE = 100


@pytest.fixture
def cluster() -> Iterator[NatsCluster]:
    made = NatsCluster.temporary()
    try:
        made.start()
        yield made
    finally:
        made.stop()


def kill(server: NatsServer) -> None:
    os.kill(server.pid, signal.SIGKILL)
    while server.poll() is None:
        time.sleep(0.01)


async def test_one_of_three_brokers_may_die_at_any_time(alpha, beta, ping, cluster) -> None:
    @beta.on(ping)
    async def take(session: AsyncSession, event: Event, meta: Meta) -> None:
        await beta.note(session, event.number)

    for service in (alpha, beta):
        for _ in range(2):
            await service.start(cluster.url, nats_replicas=3)
    await alpha.ping(0)
    await until(lambda: beta.has(1), seconds=30)

    async def during(first: int, what) -> None:
        telling = asyncio.create_task(alpha.ping(*range(first, first + WAVE)))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(what)
        await telling

    leader = cluster.leader()
    await during(1, lambda: kill(leader))
    await until(lambda: beta.has(1 + WAVE), seconds=60)  # two of three carry on

    async def kept_on(count: int) -> bool:
        bus = next(b for b in alpha.buses if b.connected)
        await bus.sample()
        return bus.health()["copies"] == {"kept": count, "wanted": 3}

    await until(lambda: kept_on(2), seconds=30)

    await asyncio.to_thread(leader.start)
    await asyncio.to_thread(cluster.wait)
    another = next(server for server in cluster.servers if server is not leader)

    def lose_the_disk() -> None:
        kill(another)
        shutil.rmtree(another.store)
        another.start()

    await during(1 + WAVE, lose_the_disk)
    await until(lambda: beta.has(1 + 2 * WAVE), seconds=60)
    assert await beta.effects() == list(range(1 + 2 * WAVE))

    async def unsent() -> bool:
        return await alpha.column("select 1 from outbox where sent_at is null limit 1") == []

    await until(unsent, seconds=30)
    await until(lambda: kept_on(3), seconds=30)
    info = await next(b for b in alpha.buses if b.connected).broker.api("STREAM.INFO.EVENTS")
    assert info["config"]["num_replicas"] == 3
    assert len(info["cluster"]["replicas"]) == 2
    # Nothing had to be sent again because the stream lost it.
    assert info["state"]["messages"] == 1 + 2 * WAVE
