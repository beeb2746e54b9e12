"""The broker dies, forgets, or loses the end of what it acknowledged: nothing is lost for us."""

import asyncio
import shutil

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import Event
from kit import crash
from kit.broker import Broker
from kit.broker_config import ServiceUser, accounts_config
from kit.inbox import Meta
from kit.testing import until


@pytest.fixture
def beta_notes(beta, ping):
    @beta.on(ping)
    async def take(session: AsyncSession, event: Event, meta: Meta) -> None:
        await beta.note(session, event.number)

    return beta


async def sent(service) -> bool:
    return await service.column("select 1 from outbox where sent_at is null limit 1") == []


async def test_emitting_needs_no_broker(alpha, beta_notes, broker, nats):
    broker.kill()
    bus = await alpha.start(nats)
    await beta_notes.start(nats)
    await alpha.ping(*range(40))
    await bus.sample()
    health = bus.health()
    assert not health["connected"]
    assert health["unsent"] == 40
    broker.start()
    await until(lambda: beta_notes.has(40), seconds=30)
    assert await beta_notes.effects() == list(range(40))
    await bus.sample()
    assert bus.health()["unsent"] == 0


async def test_a_store_lost_while_running_is_refilled(alpha, beta_notes, broker, nats):
    await alpha.start(nats)
    await beta_notes.start(nats)
    for lost in range(2):
        telling = asyncio.create_task(alpha.ping(*range(lost * 60, lost * 60 + 60)))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(broker.stop_and_wipe)
        await telling
    await until(lambda: beta_notes.has(120), seconds=30)
    await until(lambda: sent(alpha), seconds=30)
    assert await beta_notes.effects() == list(range(120))

    async def refilled() -> bool:
        # The second loss may be noticed only after everything had its effect.
        if not await connected(alpha):
            return False
        state = await alpha.buses[0].broker.stream()
        return state.last_seq >= 120

    await until(refilled, seconds=30)


async def lose_the_end(alpha, broker, nats, ping) -> None:
    """alpha sends 10, the broker loses the last 5 of them, another service's events take their
    places. Nobody consumed anything yet."""
    await alpha.start(nats)
    await alpha.ping(*range(5))
    await until(lambda: sent(alpha))
    broker.stop_keeping()
    copy = broker.store.with_name("copy")
    shutil.copytree(broker.store, copy)
    broker.start()
    await until(lambda: connected(alpha))
    await alpha.ping(*range(5, 10))
    await until(lambda: sent(alpha))
    await alpha.stop()
    broker.stop_keeping()
    shutil.rmtree(broker.store)
    copy.rename(broker.store)
    broker.start()
    other = await Broker.connect(alpha_settings(nats), "other")
    for _ in range(8):
        await other.request("evt.other.happened.v1._._", b"{}")
    await other.close()


def alpha_settings(nats: str):
    from kit.broker import Nats

    return Nats(nats)


async def connected(service) -> bool:
    return service.buses[0].connected


async def test_an_end_that_was_lost_is_seen_behind_the_others(
    alpha, beta_notes, broker, nats, ping
):
    await lose_the_end(alpha, broker, nats, ping)
    await alpha.start(nats)
    await beta_notes.start(nats)
    await until(lambda: beta_notes.has(10))
    assert await beta_notes.effects() == list(range(10))


async def test_without_the_refill_that_would_be_lost(alpha, beta_notes, broker, nats, ping):
    await lose_the_end(alpha, broker, nats, ping)
    crash.arm("", "no_refill")
    try:
        await alpha.start(nats)
        await beta_notes.start(nats)
        await alpha.ping(10)
        await until(lambda: beta_notes.has(6))
        await until(lambda: sent(alpha))
    finally:
        crash.arm("", "")
    assert await beta_notes.effects() == [0, 1, 2, 3, 4, 10]


async def test_stream_and_consumer_deleted_under_our_hands(alpha, beta_notes, nats):
    bus = await alpha.start(nats)
    await beta_notes.start(nats)
    await alpha.ping(1)
    await until(lambda: beta_notes.has(1))
    await bus.broker.api("CONSUMER.DELETE.EVENTS.beta__take")
    await alpha.ping(2)
    await until(lambda: beta_notes.has(2))
    await bus.broker.api("STREAM.DELETE.EVENTS")
    await alpha.ping(3)
    await until(lambda: beta_notes.has(3), seconds=40)
    assert await beta_notes.effects() == [1, 2, 3]
    # All three are in the new stream: a consumer that comes later sees them.
    state = await bus.broker.api("STREAM.INFO.EVENTS")
    assert state["state"]["messages"] == 3


async def test_a_batch_with_a_known_id_goes_one_by_one(alpha, beta_notes, nats, caplog):
    await alpha.start(nats)
    await beta_notes.start(nats)
    await alpha.ping(1)
    await until(lambda: beta_notes.has(1))
    await alpha.stop()
    async with alpha.sessions.begin() as session:
        await session.execute(text("update outbox set sent_at = null"))
    await alpha.ping(*range(2, 60))
    with caplog.at_level("INFO", "kit.relay"):
        await alpha.start(nats)
        await until(lambda: beta_notes.has(59))
    assert "10201" in caplog.text
    assert await beta_notes.effects() == list(range(1, 60))
    places = await alpha.column("select stream_seq from outbox order by seq")
    assert places == list(range(1, 60))


async def test_the_lead_moves_and_a_follower_wakes_the_leader(alpha, beta_notes, nats):
    first = await alpha.start(nats)
    await until(lambda: leads(first))
    second = await alpha.start(nats)
    await beta_notes.start(nats)
    await until(lambda: connected(alpha))
    # The session factory now wakes the second bus, which does not lead.
    await alpha.ping(1)
    await until(lambda: beta_notes.has(1))
    assert not second.relay.leads
    assert first.relay.published == 1
    await first.stop()
    await until(lambda: leads(second))
    await alpha.ping(2)
    await until(lambda: beta_notes.has(2))
    assert second.relay.published == 1


async def leads(bus) -> bool:
    return bus.relay.leads


async def test_a_relay_whose_database_session_ends_leads_again(alpha, beta_notes, nats):
    bus = await alpha.start(nats)
    await beta_notes.start(nats)
    await until(lambda: leads(bus))
    await alpha.column(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' "
        "and database = (select oid from pg_database where datname = current_database())"
    )
    await alpha.ping(1)
    await until(lambda: beta_notes.has(1))


async def test_an_event_that_the_broker_refuses_holds_up_no_other(alpha, beta_notes, nats):
    await alpha.start(nats)
    await beta_notes.start(nats)
    async with alpha.sessions.begin() as session:
        await session.execute(
            text(
                "insert into outbox (id, subject, body) "
                "values (gen_random_uuid(), 'nobody.listens.here', '{}')"
            )
        )
    await alpha.ping(1, 2)
    await until(lambda: beta_notes.has(2))
    await until(lambda: only_the_odd_one_waits(alpha))


async def only_the_odd_one_waits(alpha) -> bool:
    return await alpha.column("select subject from outbox where sent_at is null") == [
        "nobody.listens.here"
    ]


async def test_the_least_rights_suffice(alpha, beta_notes, broker):
    users = [
        ServiceUser("alpha", "a-secret"),
        ServiceUser(
            "beta", "b-secret", durables=tuple(d for d, _ in beta_notes.on.durables("beta"))
        ),
    ]
    broker.stop_keeping()
    broker.accounts = accounts_config(users)
    broker.start()
    await alpha.start(broker.url, nats_user="alpha", nats_password="a-secret")
    await beta_notes.start(broker.url, nats_user="beta", nats_password="b-secret")
    await alpha.ping(1)
    await until(lambda: beta_notes.has(1))
    broker.stop_and_wipe()
    await alpha.ping(2)
    await until(lambda: beta_notes.has(2), seconds=30)
    assert await beta_notes.effects() == [1, 2]
