"""Stopping in order, frozen and killed servers, old rows, figures, and what emit refuses."""

import asyncio
import os
import signal

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import Event
from kit import inbox, outbox
from kit.inbox import Meta, Subscribers
from kit.outbox import emit
from kit.testing import until


async def test_stopping_finishes_what_is_in_hand_and_gives_back_the_rest(alpha, beta, nats, ping):
    at_work, go_on = asyncio.Event(), asyncio.Event()

    @beta.on(ping)
    async def take(session: AsyncSession, event: Event, meta: Meta) -> None:
        await beta.note(session, event.number)
        at_work.set()
        await go_on.wait()

    await alpha.start(nats)
    await beta.start(nats, ack_wait=600)
    await alpha.ping(0)
    await at_work.wait()
    await alpha.ping(*range(1, 20))
    stopping = asyncio.create_task(beta.stop())
    await asyncio.sleep(0.3)
    assert not stopping.done()
    go_on.set()
    await stopping
    assert await beta.effects() == [0]
    # Nobody waits 600 s for what the stopped one had fetched.
    await beta.start(nats, ack_wait=600)
    await until(lambda: beta.has(20))
    assert await beta.effects() == list(range(20))


@pytest.mark.slow
async def test_a_frozen_broker_is_noticed_and_left(alpha, beta, broker, nats, ping):
    @beta.on(ping)
    async def take(session: AsyncSession, event: Event, meta: Meta) -> None:
        await beta.note(session, event.number)

    bus = await alpha.start(nats)
    await beta.start(nats)
    await alpha.ping(1)
    await until(lambda: beta.has(1))
    os.kill(broker.pid, signal.SIGSTOP)
    try:

        async def noticed() -> bool:
            return not bus.connected

        await alpha.ping(2)
        await until(noticed, seconds=30)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    await until(lambda: beta.has(2), seconds=30)
    assert await beta.effects() == [1, 2]


@pytest.mark.slow
async def test_a_database_that_is_killed_loses_nothing(alpha, beta, postgres, nats, ping):
    @beta.on(ping)
    async def take(session: AsyncSession, event: Event, meta: Meta) -> None:
        await beta.note(session, event.number)

    await alpha.start(nats)
    await beta.start(nats, retry_delays=())
    committed: list[int] = []

    async def tell() -> None:
        for number in range(150):
            try:
                await alpha.ping(number)
            except (OSError, DBAPIError):
                await asyncio.sleep(0.05)
            else:
                committed.append(number)

    telling = asyncio.create_task(tell())
    while len(committed) < 40:
        await asyncio.sleep(0.001)
    os.kill(postgres.pid, signal.SIGKILL)
    while postgres.poll() is None:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(postgres.start)
    await telling
    assert len(committed) < 150  # it died under their hands

    async def all_there() -> bool:
        try:
            return set(await beta.effects()) >= set(committed)
        except (OSError, DBAPIError):
            return False

    await until(all_there, seconds=30)
    effects = await beta.effects()
    assert len(effects) == len(set(effects))
    # A commit whose answer was lost may have happened; nothing else is more than committed.
    assert len(effects) == len(await alpha.column("select id from outbox"))
    assert await beta.column("select count(*) from dead_letter") == [0]


async def test_old_rows_go_and_young_or_unsent_ones_stay(alpha, ping):
    await alpha.ping(1, 2, 3)
    async with alpha.sessions.begin() as session:
        await session.execute(
            text("update outbox set sent_at = now() - interval '8 days' where seq in (1, 3)")
        )
        await session.execute(text("update outbox set sent_at = now() where seq = 3"))
        await session.execute(
            text(
                "insert into inbox values ('c', gen_random_uuid(), now() - interval '91 days'), "
                "('c', gen_random_uuid(), now() - interval '89 days')"
            )
        )
    async with alpha.sessions.begin() as session:
        assert await outbox.prune(session) == 1
        assert await inbox.prune(session) == 1
    assert await alpha.column("select seq from outbox order by seq") == [2, 3]
    assert inbox.KEEP > outbox.KEEP


async def test_figures(alpha, beta, nats, ping):
    @beta.on(ping)
    async def take(session: AsyncSession, event: Event, meta: Meta) -> None:
        await beta.note(session, event.number)

    def done() -> float:
        labels = {"service": "beta", "outcome": "done"}
        return REGISTRY.get_sample_value("beam_events_handled_total", labels) or 0

    before = done()
    await alpha.start(nats)
    bus = await beta.start(nats)
    await alpha.ping(1, 2)
    await until(lambda: beta.has(2))
    await until(lambda: counted(bus, 2))
    assert done() == before + 2
    await bus.sample()
    assert REGISTRY.get_sample_value("beam_bus_connected", {"service": "beta"}) == 1


async def counted(bus, count: int) -> bool:
    return bus.health()["handled"] == count


@pytest.mark.parametrize("place", ["", "a.b", ">", "*", "310 115", "浦东"])
async def test_a_place_must_be_one_token(alpha, ping, place):
    async with alpha.sessions() as session:
        with pytest.raises(ValueError, match="token"):
            emit(session, ping(number=1), subject="s", version=1, region=place)
        with pytest.raises(ValueError, match="token"):
            emit(session, ping(number=1), subject="s", version=1, dept=place)


async def test_a_huge_event_is_refused_where_it_is_made(alpha, ping):
    async with alpha.sessions() as session:
        with pytest.raises(ValueError, match="bytes"):
            emit(session, ping(number=1), subject="s" * outbox.MAX_BYTES, version=1)


def test_two_handlers_of_one_name_are_refused(ping):
    on = Subscribers()

    async def take(session: AsyncSession, event: Event, meta: Meta) -> None:
        raise NotImplementedError

    on(ping)(take)
    with pytest.raises(TypeError, match="take"):
        on(ping)(take)
