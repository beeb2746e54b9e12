"""Events are in the transaction that they belong to, whoever commits it, and in the order told."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from contracts.event import Event
from kit.db import Sessions, open_engine, open_sessions
from kit.ids import derived_uuid
from kit.inbox import Inbox, Meta, Subscribers, apply
from kit.outbox import Outbox, emit, emit_once, seal
from kit.testing import Ground


class _Told(Event):
    TYPE: ClassVar[str] = "alpha.told.v1"
    number: int


@pytest.fixture
async def engine(ground: Ground) -> AsyncIterator[AsyncEngine]:
    made = open_engine(await ground.database("helpdesk_svc"))
    yield made
    await made.dispose()


@pytest.fixture
def sessions(engine: AsyncEngine) -> Sessions:
    return open_sessions(engine)


def tell(session: AsyncSession | Session, *numbers: int) -> None:
    for number in numbers:
        emit(session, _Told(number=number), subject=f"s_{number}", version=1)


async def told(sessions: Sessions) -> list[int]:
    async with sessions() as session:
        bodies = await session.scalars(text("select body from outbox order by seq"))
        return [json.loads(body)["data"]["number"] for body in bodies]


def statements(engine: AsyncEngine) -> list[str]:
    """What goes to the server from now on."""
    found: list[str] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        found.append(" ".join(statement.split()))

    return found


async def test_all_events_of_a_transaction_are_one_statement_in_the_order_told(
    engine: AsyncEngine, sessions: Sessions
) -> None:
    sent = statements(engine)
    async with sessions.begin() as session:
        tell(session, 3, 1)
        await session.flush()
        tell(session, *range(10, 60))
    assert len([one for one in sent if "insert into outbox" in one]) == 1
    assert await told(sessions) == [3, 1, *range(10, 60)]


async def test_nothing_is_told_of_what_was_rolled_back(sessions: Sessions) -> None:
    async with sessions() as session:
        tell(session, 1)
        await session.rollback()
        tell(session, 2)
        await session.commit()
        tell(session, 3)
    with contextlib.suppress(RuntimeError):
        async with sessions.begin() as session:
            tell(session, 4)
            raise RuntimeError
    assert await told(sessions) == [2]


async def test_a_commit_that_fails_tells_nothing(sessions: Sessions) -> None:
    event_id = derived_uuid("one")
    async with sessions.begin() as session:
        session.add(Inbox(consumer="c", event_id=event_id))
    with contextlib.suppress(IntegrityError):
        async with sessions.begin() as session:
            tell(session, 1)
            session.add(Inbox(consumer="c", event_id=event_id))
    assert await told(sessions) == []


async def test_a_savepoint_takes_back_only_what_was_told_within(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        tell(session, 1)
        with contextlib.suppress(RuntimeError):
            async with session.begin_nested():
                tell(session, 2)
                raise RuntimeError
        tell(session, 3)
        with contextlib.suppress(RuntimeError):
            async with session.begin_nested():
                async with session.begin_nested():
                    tell(session, 4)
                raise RuntimeError
        async with session.begin_nested():
            tell(session, 5)
        tell(session, 6)
    assert sorted(await told(sessions)) == [1, 3, 5, 6]


async def test_a_savepoint_that_cannot_end_leaves_the_events_before_it(sessions: Sessions) -> None:
    event_id = derived_uuid("one")
    async with sessions.begin() as session:
        session.add(Inbox(consumer="c", event_id=event_id))
    async with sessions.begin() as session:
        tell(session, 1)
        with contextlib.suppress(IntegrityError):
            async with session.begin_nested():
                tell(session, 2)
                session.add(Inbox(consumer="c", event_id=event_id))
    assert await told(sessions) == [1]


async def test_synchronous_code_tells_as_well(sessions: Sessions) -> None:
    async with sessions() as session:
        await session.run_sync(lambda now: tell(now, 1, 2))
        await session.run_sync(lambda now: now.commit())
    assert await told(sessions) == [1, 2]


async def test_once_and_always_in_one_transaction(sessions: Sessions) -> None:
    fact = derived_uuid("fact")
    async with sessions.begin() as session:
        tell(session, 1)
        for _ in range(2):
            await emit_once(session, _Told(number=2), id=fact, subject="s_2", version=1)
    assert sorted(await told(sessions)) == [1, 2]


async def test_a_subscriber_delivered_twice_tells_once(sessions: Sessions) -> None:
    on = Subscribers()

    @on(_Told)
    async def answer(session: AsyncSession, heard: _Told, meta: Meta) -> None:
        tell(session, heard.number + 100, heard.number + 200)

    subscription = on.subscriptions[0]
    bodies = [seal(_Told(number=n), subject=f"s_{n}", version=1).body for n in range(5)]
    deliveries = [subscription.read(body.encode()) for body in bodies]
    for _ in range(2):
        async with sessions.begin() as session:
            await apply(session, subscription, "beta__answer", deliveries)
    assert await told(sessions) == [n + more for n in range(5) for more in (100, 200)]


async def test_rows_added_by_hand_stay_possible(sessions: Sessions) -> None:
    body = seal(_Told(number=7), subject="s_7", version=1)
    async with sessions.begin() as session:
        session.add(Outbox(id=body.id, subject=body.subject, body=body.body))
    assert await told(sessions) == [7]
