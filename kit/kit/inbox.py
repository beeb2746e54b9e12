"""Events in: a handler's effect happens once per event, however often the event arrives."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Index, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, Session, mapped_column

from contracts.event import Envelope, Event

from . import context, crash, traces
from .db import KitBase, Now
from .driver import speak

KEEP = timedelta(days=90)
"""Longer than the stream (35 days) and the outbox (7 days) can bring an event again."""
E = TypeVar("E", bound=Event)


class Inbox(KitBase):
    """The event was handled by the consumer, in the transaction that wrote this row."""

    __tablename__ = "inbox"
    consumer: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    seen_at: Mapped[Now]
    __table_args__ = (Index("inbox_seen_at_idx", "seen_at"),)


@dataclass(frozen=True, slots=True)
class Meta:
    """What the envelope says about an event."""

    id: UUID
    subject: str
    """The id of the thing that it happened to."""
    time: datetime
    version: int
    """Version of that thing after it happened."""
    region: str
    dept: str
    actor: str | None
    correlationid: str | None
    traceparent: str | None


class Later(Exception):
    """Raised by a handler that cannot take the event yet, for example because an earlier version
    is missing: roll back and deliver it again after `seconds`. It does not count as a failure
    until it was asked for very often."""

    def __init__(self, seconds: float = 1.0) -> None:
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds


class Undecodable(ValueError):
    """These bytes are no event of the type that the consumer takes."""


Handler = Callable[[AsyncSession, E, Meta], Awaitable[None]]
ManyHandler = Callable[[AsyncSession, Sequence[tuple[E, Meta]]], Awaitable[None]]
RawHandler = Callable[[AsyncSession, Envelope], Awaitable[None]]
ManyRawHandler = Callable[[AsyncSession, Sequence[Envelope]], Awaitable[None]]


@dataclass(frozen=True)
class Subscription:
    """One handler and what it listens to; `event_type` None: to every event, as envelopes.
    `many`: it takes all that wait at once."""

    event_type: type[Event] | None
    handler: Callable[..., Awaitable[None]]
    many: bool = False

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def filter(self) -> str:
        return "evt.>" if self.event_type is None else f"evt.{self.event_type.TYPE}.>"

    def durable(self, service: str) -> str:
        return f"{service}__{self.name}"

    def read(self, body: bytes) -> "Delivery":
        """Raises Undecodable."""
        try:
            envelope = Envelope.model_validate_json(body)
            if self.event_type is None:
                return Delivery(envelope, None)
            if envelope.event_type != self.event_type.TYPE:
                raise Undecodable(f"not a {self.event_type.TYPE}")
            return Delivery(envelope, self.event_type.model_validate(envelope.data))
        except Undecodable:
            raise
        except ValueError as error:
            raise Undecodable("no valid envelope or data") from error


@dataclass(frozen=True, slots=True)
class Delivery:
    envelope: Envelope
    event: Event | None

    @property
    def meta(self) -> Meta:
        e = self.envelope
        return Meta(
            id=e.id,
            subject=e.subject,
            time=e.time,
            version=e.aggregateversion,
            region=e.region,
            dept=e.dept,
            actor=e.actor,
            correlationid=e.correlationid,
            traceparent=e.traceparent,
        )


@dataclass
class Subscribers:
    """What one service listens to.

    ```
    on = Subscribers()

    @on(CaseFeeDue)
    async def create_bill(session: AsyncSession, fee: CaseFeeDue, meta: Meta) -> None: ...
    ```
    """

    subscriptions: list[Subscription] = field(default_factory=list)

    def __call__(self, event_type: type[E]) -> Callable[[Handler[E]], Handler[E]]:
        def register(handler: Handler[E]) -> Handler[E]:
            self._add(Subscription(event_type, handler))
            return handler

        return register

    def many(self, event_type: type[E]) -> Callable[[ManyHandler[E]], ManyHandler[E]]:
        """Above a handler that takes what waits in one call, in order and none twice, for effects
        that one statement writes: many times as quick. It belongs to no single request, so it
        must not emit. When it raises, it is called again for each event by itself."""

        def register(handler: ManyHandler[E]) -> ManyHandler[E]:
            self._add(Subscription(event_type, handler, many=True))
            return handler

        return register

    def every(self, handler: RawHandler) -> RawHandler:
        """Above a handler of all events, which gets the session and the envelope."""
        self._add(Subscription(None, handler))
        return handler

    def every_many(self, handler: ManyRawHandler) -> ManyRawHandler:
        """As `every`, with all that wait in one call as in `many`."""
        self._add(Subscription(None, handler, many=True))
        return handler

    def durables(self, service: str) -> list[tuple[str, str]]:
        """(durable consumer, filter subject) of each handler, for the broker's configuration."""
        return [(s.durable(service), s.filter) for s in self.subscriptions]

    def find(self, service: str, durable: str) -> Subscription | None:
        return next((s for s in self.subscriptions if s.durable(service) == durable), None)

    def _add(self, subscription: Subscription) -> None:
        if any(s.name == subscription.name for s in self.subscriptions):
            raise TypeError(f"two handlers are called {subscription.name}")
        self.subscriptions.append(subscription)


_SEEN = """
insert into inbox (consumer, event_id) select $1::text, unnest($2::uuid[])
on conflict do nothing returning event_id
"""


async def apply(
    session: AsyncSession,
    subscription: Subscription,
    durable: str,
    deliveries: Sequence[Delivery],
) -> list[Delivery]:
    """Run the handler on those events that this consumer has not handled, in the caller's
    transaction and together with their inbox rows. Returns those."""
    ids = [d.envelope.id for d in deliveries]
    if crash.planted("no_inbox"):
        fresh = set(ids)
    else:
        fresh = await session.run_sync(_take, durable, ids)
    done: list[Delivery] = []
    for delivery in deliveries:
        if delivery.envelope.id in fresh:
            fresh.remove(delivery.envelope.id)
            done.append(delivery)
    if subscription.many and len(done) > 1:
        await _handle_many(session, subscription, done)
        return done
    for delivery in done:
        await _handle(session, subscription, delivery)
        if len(deliveries) > 1 and len(session.identity_map):
            # The next event must read the database as if it came alone.
            session.expunge_all()
        crash.point("c2")
    return done


def _take(session: Session, durable: str, ids: list[UUID]) -> set[UUID]:
    return {row[0] for row in speak(session.connection(), _SEEN, (durable, ids))}


async def _handle(session: AsyncSession, subscription: Subscription, delivery: Delivery) -> None:
    envelope, event = delivery.envelope, delivery.event
    if _lost(delivery):
        return
    with context_of(envelope), _span(subscription, envelope):
        if subscription.many:
            await subscription.handler(session, [envelope if event is None else _told(delivery)])
        elif event is None:
            await subscription.handler(session, envelope)
        else:
            await subscription.handler(session, event, delivery.meta)
        if session.new or session.dirty or session.deleted:
            await session.flush()


async def _handle_many(
    session: AsyncSession, subscription: Subscription, deliveries: Sequence[Delivery]
) -> None:
    deliveries = [delivery for delivery in deliveries if not _lost(delivery)]
    tracer, began = traces.tracer.get(), time.time_ns()
    await subscription.handler(
        session, [d.envelope if d.event is None else _told(d) for d in deliveries]
    )
    await session.flush()
    crash.point("c2")
    if tracer is None:
        return
    for envelope in (d.envelope for d in deliveries):
        name = f"{subscription.name} {envelope.event_type}"
        about = _about(subscription, envelope)
        span = traces.Span(name, traces.CONSUMER, envelope.traceparent, **about)
        span.began = began
        tracer.keep(span)


def _told(delivery: Delivery) -> tuple[Event | None, Meta]:
    return delivery.event, delivery.meta


def _lost(delivery: Delivery) -> bool:
    return crash.planted("effect_lost") and delivery.envelope.id.int % 4 == 0


@contextlib.contextmanager
def context_of(envelope: Envelope) -> Iterator[None]:
    """What a handler logs, calls and emits belongs to the request that caused the event."""
    pairs: list[tuple[Any, Any]] = [
        (context.request_id, context.request_id.set(envelope.correlationid)),
        (context.traceparent, context.traceparent.set(envelope.traceparent)),
        (context.actor, context.actor.set(envelope.actor)),
        (context.principal, context.principal.set(envelope.onbehalfof)),
    ]
    try:
        yield
    finally:
        for variable, token in pairs:
            variable.reset(token)


def _span(
    subscription: Subscription, envelope: Envelope
) -> contextlib.AbstractContextManager[traces.Span | None]:
    if traces.tracer.get() is None and envelope.traceparent is not None:
        return contextlib.nullcontext()
    name = f"{subscription.name} {envelope.event_type}"
    return traces.span(name, traces.CONSUMER, **_about(subscription, envelope))


def _about(subscription: Subscription, envelope: Envelope) -> dict[str, str]:
    return {
        "messaging_system": "nats",
        "messaging_operation_type": "process",
        "messaging_consumer_group_name": subscription.name,
        "messaging_message_id": str(envelope.id),
    }


async def prune(session: AsyncSession, *, keep: timedelta = KEEP, limit: int = 5_000) -> int:
    """Delete up to `limit` rows older than `keep`."""
    old = (
        select(Inbox.consumer, Inbox.event_id)
        .where(Inbox.seen_at < func.now() - keep)
        .limit(limit)
        .subquery()
    )
    gone: Any = await session.execute(
        delete(Inbox).where(Inbox.consumer == old.c.consumer, Inbox.event_id == old.c.event_id)
    )
    return int(gone.rowcount)
