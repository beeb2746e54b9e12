"""Events that a handler cannot take: tried again, then kept for an operator; others flow."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import Event
from kit import deadletters
from kit.errors import Conflict, NotFound
from kit.inbox import Later, Meta
from kit.testing import until

QUICK = (0.1, 0.1)


@pytest.fixture
def broken(beta, ping) -> Iterator[set[int]]:
    """The numbers at which beta's handler fails for now, after it has written."""
    numbers: set[int] = set()

    @beta.on(ping)
    async def take(session: AsyncSession, event: Event, meta: Meta) -> None:
        await beta.note(session, event.number)
        if event.number in numbers:
            raise Conflict("身份证 310101199001011234", "says 310101199001011234")

    return numbers


async def letters(beta) -> list[deadletters.DeadLetter]:
    async with beta.sessions() as session:
        return list(await deadletters.page(session))


async def test_a_poison_event_dies_alone(alpha, beta, nats, broken):
    broken.add(5)
    await alpha.start(nats)
    await beta.start(nats, retry_delays=QUICK)
    await alpha.ping(*range(10))
    await until(lambda: beta.has(9))
    await until(lambda: letters(beta))
    assert await beta.effects() == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    (letter,) = await letters(beta)
    assert letter.consumer == "beta__take"
    assert letter.deliveries == len(QUICK) + 1
    assert letter.subject == "evt.alpha.pinged.v1._._"
    assert letter.error_class == "Conflict"
    assert "test_failures.py" in letter.error
    assert "3101" not in letter.error
    await beta.buses[0].sample()
    assert beta.buses[0].health()["dead_letters"] == 1
    # Terminated: no consumer gets it again.
    await alpha.ping(11)
    await until(lambda: beta.has(10))
    assert beta.buses[0].health()["failed"] == len(QUICK) + 1
    info = await beta.buses[0].broker.api("CONSUMER.INFO.EVENTS.beta__take")
    assert info["num_ack_pending"] == 0


async def test_replay_runs_the_handler_once(alpha, beta, nats, broken):
    broken.add(5)
    await alpha.start(nats)
    bus = await beta.start(nats, retry_delays=())
    await alpha.ping(5)
    await until(lambda: letters(beta))
    (letter,) = await letters(beta)
    async with beta.sessions() as session:
        with pytest.raises(deadletters.ReplayFailed) as failed:
            await bus.replay(session, letter.id)
    assert "3101" not in failed.value.en + failed.value.zh
    assert await beta.effects() == []
    broken.clear()
    for _ in range(2):
        async with beta.sessions.begin() as session:
            await bus.replay(session, letter.id)
    assert await beta.effects() == [5]
    assert await letters(beta) == []
    async with beta.sessions() as session:
        (kept,) = await deadletters.page(session, open_only=False)
        assert kept.replayed_at is not None
        with pytest.raises(NotFound):
            await bus.replay(session, "dead_unknown")


async def test_an_event_that_recovers_leaves_no_letter(alpha, beta, nats, broken):
    broken.add(5)
    await alpha.start(nats)
    await beta.start(nats, retry_delays=(0.1,) * 50)
    await alpha.ping(5)

    async def tried() -> bool:
        return await beta.column("select deliveries from dead_letter") not in ([], [1])

    await until(tried)
    assert await letters(beta) == []
    broken.clear()
    await until(lambda: beta.has(1))
    assert await beta.column("select count(*) from dead_letter") == [0]


async def test_what_is_no_event_dies_at_once(alpha, beta, nats, broken):
    await beta.start(nats)
    bus = await alpha.start(nats)
    await until(lambda: beta.column("select 1 from pg_locks where locktype = 'advisory'"))
    for body in (b"\xff\x00", b"{}", b'{"specversion":"1.0"}', b"[" * 50_000):
        await bus.broker.request("evt.alpha.pinged.v1._._", body)
    wrong = '{"specversion":"1.0","source":"/x","type":"cn.beam.alpha.pinged.v1","subject":"s",'
    wrong += '"dataschema":"d","aggregateversion":1,"data":{"number":"310101199001011234x"}}'
    await bus.broker.request("evt.alpha.pinged.v1._._", wrong.encode())

    async def all_dead() -> bool:
        return len(await letters(beta)) == 5

    await until(all_dead)
    assert {letter.error_class for letter in await letters(beta)} == {"Undecodable"}
    assert {letter.deliveries for letter in await letters(beta)} == {1}
    assert not any("3101" in letter.error for letter in await letters(beta))
    await alpha.ping(1)
    await until(lambda: beta.has(1))


async def test_later_comes_again_and_is_no_failure(alpha, beta, nats, ping):
    tries: list[int] = []

    @beta.on(ping)
    async def in_order(session: AsyncSession, event: Event, meta: Meta) -> None:
        tries.append(event.number)
        before = await session.scalar(text("select count(*) from effect"))
        if before < event.number:
            raise Later(0.1)
        await beta.note(session, event.number)

    await alpha.start(nats)
    await beta.start(nats, retry_delays=())
    await alpha.ping(2, 1, 0)
    await until(lambda: beta.has(3))
    assert await beta.column("select number from effect") == [0, 1, 2]
    assert len(tries) > 3
    assert await beta.column("select count(*) from dead_letter") == [0]


async def test_a_database_that_goes_away_is_no_failure_of_the_event(alpha, beta, nats, ping):
    gone = asyncio.Event()

    @beta.on(ping)
    async def take(session: AsyncSession, event: Event, meta: Meta) -> None:
        if not gone.is_set():
            gone.set()
            await session.execute(text("select pg_terminate_backend(pg_backend_pid())"))
        await beta.note(session, event.number)

    await alpha.start(nats)
    await beta.start(nats, retry_delays=())
    await alpha.ping(1)
    await until(lambda: beta.has(1))
    assert gone.is_set()
    assert await beta.column("select count(*) from dead_letter") == [0]


def test_a_description_holds_no_values():
    try:
        int("310101199001011234x")
    except ValueError as error:
        told = deadletters.describe(error)
    assert told.startswith("ValueError; events/test_failures.py:")
    assert "3101" not in told
