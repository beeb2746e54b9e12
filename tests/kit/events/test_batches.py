"""Events that are handled together: one that fails, waits or repeats is nobody else's trouble."""

from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import Envelope, Event
from kit import context, deadletters
from kit.errors import Conflict
from kit.inbox import Later, Meta, apply
from kit.outbox import emit, seal
from kit.testing import until

COUNT = 50


class Trouble:
    """What beta's handler does: `fails` always, asks for `later` once each, notes the rest."""

    def __init__(self) -> None:
        self.fails: set[int] = set()
        self.later: set[int] = set()
        self.together: list[int] = []
        """How many events each call brought."""

    def meet(self, number: int) -> None:
        if number in self.fails:
            raise Conflict("不行", "no")
        if number in self.later:
            self.later.remove(number)
            raise Later(0.1)


@pytest.fixture(params=["singly", "many"])
def trouble(request, beta, ping) -> Iterator[Trouble]:
    trouble = Trouble()

    async def one(session: AsyncSession, event: Event, meta: Meta) -> None:
        # Written before it fails: a rollback must take it back.
        await beta.note(session, event.number)
        trouble.meet(event.number)

    async def many(session: AsyncSession, batch: Sequence[tuple[Event, Meta]]) -> None:
        trouble.together.append(len(batch))
        for event, meta in batch:
            await one(session, event, meta)

    if request.param == "many":
        beta.on.many(ping)(many)
    else:
        beta.on(ping)(one)
    return trouble


async def test_one_poisonous_event_of_fifty(alpha, beta, nats, trouble):
    trouble.fails.add(40)
    await alpha.ping(*range(COUNT))
    await alpha.start(nats)
    await beta.start(nats, retry_delays=(0.1, 0.1))
    await until(lambda: beta.has(COUNT - 1))

    async def dead() -> list[int]:
        return await beta.column("select deliveries from dead_letter where died_at is not null")

    assert await until(dead) == [3]
    assert await beta.effects() == [n for n in range(COUNT) if n != 40]
    assert await beta.column("select count(*) from inbox") == [COUNT - 1]
    assert beta.buses[0].health()["failed"] == 3


async def test_one_of_fifty_asks_for_later(alpha, beta, nats, trouble):
    trouble.later.add(40)
    await alpha.ping(*range(COUNT))
    await alpha.start(nats)
    await beta.start(nats)
    await until(lambda: beta.has(COUNT))
    assert await beta.effects() == list(range(COUNT))
    assert await beta.column("select count(*) from dead_letter") == [0]


async def test_a_repeat_within_a_batch_has_no_second_effect(beta, ping, trouble):
    (subscription,) = beta.on.subscriptions
    bodies = [seal(ping(number=n), subject="p", version=1).body.encode() for n in range(3)]
    for _ in range(2):
        deliveries = [subscription.read(bodies[n]) for n in (0, 1, 1, 2, 0)]
        async with beta.sessions.begin() as session:
            await apply(session, subscription, "beta__take", deliveries)
    assert await beta.effects() == [0, 1, 2]
    assert sum(trouble.together) in (0, 3)


async def test_versions_of_one_thing_keep_their_order(alpha, beta, nats, ping, trouble):
    for number in range(COUNT):
        async with alpha.sessions.begin() as session:
            emit(session, ping(number=number), subject="p_1", version=number + 1)
    await alpha.start(nats)
    await beta.start(nats)
    await until(lambda: beta.has(COUNT))
    assert await beta.column("select number from effect order by ctid") == list(range(COUNT))


async def test_what_waits_comes_together_and_belongs_to_no_request(alpha, beta, nats):
    calls: list[tuple[int, str | None]] = []

    @beta.on.every_many
    async def keep(session: AsyncSession, envelopes: Sequence[Envelope]) -> None:
        calls.append((len(envelopes), context.request_id.get()))
        for envelope in envelopes:
            await beta.note(session, envelope.data["number"])

    context.request_id.set("req-1")
    await alpha.ping(*range(COUNT))
    context.request_id.set(None)
    await alpha.start(nats)
    await beta.start(nats)
    await until(lambda: beta.has(COUNT))
    assert await beta.effects() == list(range(COUNT))
    assert len(calls) < COUNT / 2
    assert {request for size, request in calls if size > 1} == {None}
    assert {request for size, request in calls if size == 1} <= {"req-1"}


async def test_slow_events_do_not_share_a_long_transaction(alpha, beta, nats, ping):
    @beta.on(ping)
    async def slow(session: AsyncSession, event: Event, meta: Meta) -> None:
        await session.execute(text("select pg_sleep(0.3)"))
        await beta.note(session, event.number)

    await alpha.ping(*range(6))
    await alpha.start(nats)
    await beta.start(nats)
    await until(lambda: beta.has(6))
    # now() is the transaction's: each has its own.
    assert await beta.column("select count(distinct seen_at) from inbox") == [6]


async def test_a_dead_letter_of_a_handler_of_many_is_replayed(alpha, beta, nats, ping):
    broken = True

    @beta.on.many(ping)
    async def take(session: AsyncSession, batch: Sequence[tuple[Event, Meta]]) -> None:
        if broken:
            raise Conflict("不行", "no")
        for event, _ in batch:
            await beta.note(session, event.number)

    await alpha.start(nats)
    bus = await beta.start(nats, retry_delays=())
    await alpha.ping(1)

    async def letters() -> list[str]:
        return await beta.column("select id from dead_letter")

    (letter,) = await until(letters)
    broken = False
    async with beta.sessions.begin() as session:
        await bus.replay(session, letter)
    assert await beta.effects() == [1]
    async with beta.sessions() as session:
        assert await deadletters.count_open(session) == 0
