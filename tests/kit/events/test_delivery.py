"""From an emitted event to its effect, once."""

import json
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import Envelope, Event
from kit import context
from kit.inbox import Meta
from kit.outbox import emit
from kit.testing import until


async def test_every_event_has_its_effect_once_and_in_order(alpha, beta, nats, ping):
    seen: list[int] = []

    @beta.on(ping)
    async def take(session: AsyncSession, event: Event, meta: Meta) -> None:
        seen.append(event.number)
        await beta.note(session, event.number)

    await alpha.start(nats)
    await beta.start(nats)
    await alpha.ping(*range(30))
    await until(lambda: beta.has(30))
    assert await beta.effects() == list(range(30))
    assert seen == list(range(30))
    assert await alpha.column("select count(*) from outbox where sent_at is null") == [0]
    assert await alpha.column("select stream_seq from outbox order by seq") == list(range(1, 31))


async def test_the_envelope_and_its_context_travel_along(alpha, beta, nats, ping):
    met: list[tuple[Meta, str | None, str | None]] = []
    raw: list[Envelope] = []

    @beta.on(ping)
    async def take(session: AsyncSession, event: Event, meta: Meta) -> None:
        met.append((meta, context.request_id.get(), context.traceparent.get()))

    @beta.on.every
    async def keep(session: AsyncSession, envelope: Envelope) -> None:
        raw.append(envelope)

    assert beta.on.durables("beta") == [
        ("beta__take", "evt.alpha.pinged.v1.>"),
        ("beta__keep", "evt.>"),
    ]
    await alpha.start(nats)
    await beta.start(nats)
    trace = context.new_traceparent()
    context.request_id.set("req-1")
    context.traceparent.set(trace)
    async with alpha.sessions.begin() as session:
        made = emit(
            session,
            ping(number=7),
            subject="p_7",
            version=3,
            region="310115",
            dept="MSA",
            actor="a1",
        )
    context.request_id.set(None)
    context.traceparent.set(None)

    async def both() -> bool:
        return bool(met and raw)

    await until(both)
    meta, request_id, traceparent = met[0]
    assert (meta.id, meta.subject, meta.version) == (made, "p_7", 3)
    assert (meta.region, meta.dept, meta.actor) == ("310115", "MSA", "a1")
    assert request_id == meta.correlationid == "req-1"
    assert traceparent is not None
    assert traceparent.split("-")[1] == trace.split("-")[1]
    assert raw[0].data == {"number": 7}
    subject, body = (await alpha.rows("select subject, body from outbox"))[0]
    assert subject == "evt.alpha.pinged.v1.310115.MSA"
    assert json.loads(body)["source"] == "/beam/alpha"


async def test_nothing_goes_out_of_a_transaction_that_rolled_back(alpha, ping):
    async with alpha.sessions() as session:
        emit(session, ping(number=1), subject="p_1", version=1)
        await session.rollback()
        async with session.begin():
            emit(session, ping(number=2), subject="p_2", version=1)
            nested = await session.begin_nested()
            emit(session, ping(number=3), subject="p_3", version=1)
            await nested.rollback()
    assert await alpha.column("select body::json->'data'->>'number' from outbox") == ["2"]


async def test_delivered_twice_is_applied_once(alpha, beta, broker, nats, ping):
    @beta.on(ping)
    async def take(session: AsyncSession, event: Event, meta: Meta) -> None:
        await beta.note(session, event.number)

    await alpha.start(nats)
    await beta.start(nats)
    await alpha.ping(1, 2, 3)
    await until(lambda: beta.has(3))
    # The relay forgets that it sent them, and the stream that it has them: all come again.
    async with alpha.sessions.begin() as session:
        await session.execute(text("update outbox set sent_at = null"))
    await beta.stop()
    await alpha.stop()
    broker.stop_and_wipe()
    await alpha.start(nats)
    await beta.start(nats)
    await alpha.ping(4)
    await until(lambda: beta.has(4))
    assert await beta.effects() == [1, 2, 3, 4]
    ids = await beta.column("select event_id from inbox order by seen_at")
    assert len(ids) == 4
    assert all(isinstance(i, UUID) for i in ids)
