"""Events out: written in the caller's transaction; kit.relay brings them to the broker."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, Text, delete, event, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, Session, SessionTransaction, mapped_column

from contracts.event import NO_PLACE, Envelope, Event

from . import context, crash, traces
from .db import KitBase, Now
from .driver import speak
from .ids import uuid7

KEEP = timedelta(days=7)
"""How long a published event stays in the outbox, from which a lost stream is refilled."""
MAX_BYTES = 256 * 1024
WAKE = "wake_relay"
"""Key in `session.info`: what to call after a commit that emitted something."""
_EMITTED = "events_emitted"
_WAITING = "events_waiting"
WRITE = """
insert into outbox (id, subject, body)
select id, subject, body
from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as told (id, subject, body, place)
order by place
"""
"""Writes what `take` gives; the order of `seq` is the order of telling."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")


class Outbox(KitBase):
    """One event of this service. `sent_at` tells that the stream has it, `stream_seq` where."""

    __tablename__ = "outbox"
    seq: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True)
    subject: Mapped[str]
    body: Mapped[str] = mapped_column(Text)
    """The envelope, byte for byte as it goes out, also when it goes out again."""
    created_at: Mapped[Now]
    sent_at: Mapped[datetime | None]
    stream_seq: Mapped[int | None] = mapped_column(BigInteger)
    stream_created: Mapped[str | None]
    __table_args__ = (
        Index("outbox_unsent_idx", "seq", postgresql_where=text("sent_at is null")),
        Index("outbox_stream_created_stream_seq_idx", "stream_created", "stream_seq"),
    )


@dataclass(frozen=True, slots=True)
class Sealed:
    """An event ready for the outbox: for `emit`, and for statements that write many rows."""

    id: UUID
    subject: str
    body: str


def seal(
    event: Event,
    *,
    subject: str,
    version: int,
    region: str = NO_PLACE,
    dept: str = NO_PLACE,
    actor: str | None = None,
    time: datetime | None = None,
    id: UUID | None = None,
) -> Sealed:
    """Put an event into its envelope. Arguments and errors as for `emit`."""
    if crash.planted("no_dept"):
        dept = NO_PLACE
    for token in (region, dept):
        if not _TOKEN.fullmatch(token):
            raise ValueError("region and dept must be one token of letters, digits, _ or -")
    envelope = Envelope(
        id=id or uuid7(),
        source=f"/beam/{event.owner()}",
        type=f"cn.beam.{event.TYPE}",
        subject=subject,
        time=time or datetime.now(UTC),
        dataschema=f"/v1/events/schemas/{event.TYPE}",
        region=region,
        dept=dept,
        actor=actor if actor is not None else context.actor.get(),
        onbehalfof=context.principal.get() if actor is None else None,
        aggregateversion=version,
        traceparent=context.traceparent.get(),
        correlationid=context.request_id.get(),
        data=event.model_dump(mode="json"),
    )
    body = envelope.model_dump_json(exclude_none=True)
    if len(body) > MAX_BYTES:
        raise ValueError(f"{event.TYPE} is larger than {MAX_BYTES} bytes")
    return Sealed(envelope.id, envelope.nats_subject, body)


def emit(
    session: AsyncSession | Session,
    event: Event,
    *,
    subject: str,
    version: int,
    region: str = NO_PLACE,
    dept: str = NO_PLACE,
    actor: str | None = None,
    time: datetime | None = None,
) -> UUID:
    """Tell the others what happened, if and only if the transaction of `session` commits.

    `subject` is the id of the thing that it happened to and `version` its version after it,
    `region` six digits of GB/T 2260, `dept` a department's code, `time` UTC (default now), `actor`
    who caused it (default: of the request or event being handled). Returns the event's id. Raises
    ValueError for a place that is no single token and for an event over 256 KiB.
    """
    sealed = seal(
        event,
        subject=subject,
        version=version,
        region=region,
        dept=dept,
        actor=actor,
        time=time,
    )
    traces.touch()
    now = session.sync_session if isinstance(session, AsyncSession) else session
    if not now.in_transaction():
        now.begin()
    now.info.setdefault(_WAITING, []).append((now.get_nested_transaction(), sealed))
    now.info[_EMITTED] = True
    return sealed.id


async def emit_once(
    session: AsyncSession, event: Event, *, id: UUID, subject: str, version: int
) -> bool:
    """Tell it unless an event with this id lies in the outbox; whether it was told now. For facts
    whose id follows from what happened, so that telling them again is no second fact."""
    sealed = seal(event, subject=subject, version=version, id=id)
    row = insert(Outbox).values(id=sealed.id, subject=sealed.subject, body=sealed.body)
    told = await session.scalar(row.on_conflict_do_nothing().returning(Outbox.seq))
    if told is None:
        return False
    traces.touch()
    session.info[_EMITTED] = True
    return True


def waiting(session: Session) -> list[Sealed]:
    """The events that this transaction has told of and not written."""
    return [told for _, told in session.info.get(_WAITING, ())]


def forget(session: Session) -> None:
    """Somebody else has written what was `waiting`."""
    session.info.pop(_WAITING, None)


def take(session: Session) -> tuple[list[UUID], list[str], list[str]]:
    """The events that this transaction (or savepoint) has told of and not written, as arguments
    of `WRITE`: who takes them writes them, before the commit."""
    waiting, within = session.info.pop(_WAITING, []), session.get_nested_transaction()
    mine = [told for savepoint, told in waiting if within in (None, savepoint)]
    if len(mine) < len(waiting):
        session.info[_WAITING] = [pair for pair in waiting if pair[0] is not within]
    return [e.id for e in mine], [e.subject for e in mine], [e.body for e in mine]


@event.listens_for(Session, "before_commit")
def _write(session: Session) -> None:
    # However the session comes to be committed: all its events in one statement. (At the end of
    # a savepoint too, and then only what was told within: what it takes back, it takes back.)
    if session.info.get(_WAITING):
        ids, subjects, bodies = take(session)
        if ids:
            speak(session.connection(), WRITE, (ids, subjects, bodies))


@event.listens_for(Session, "after_transaction_end")
def _wake_relay(session: Session, transaction: SessionTransaction) -> None:
    waiting = session.info.pop(_WAITING, None)
    if waiting and transaction.parent is not None:  # what a savepoint took back was not told
        session.info[_WAITING] = [pair for pair in waiting if pair[0] is not transaction]
    # Only the outermost transaction counts; after a rollback the relay looks in vain, once.
    if transaction.parent is None and session.info.pop(_EMITTED, False):
        wake: Callable[[], None] | None = session.info.get(WAKE)
        if wake is not None:
            wake()


@dataclass(frozen=True)
class Lag:
    """What the broker does not have yet. `unsent` is counted to 10,000 at most."""

    unsent: int
    oldest_seconds: float


async def lag(session: AsyncSession) -> Lag:
    waiting = (
        select(Outbox.created_at)
        .where(Outbox.sent_at.is_(None))
        .order_by(Outbox.seq)
        .limit(10_000)
        .subquery()
    )
    age = func.extract("epoch", func.now() - func.min(waiting.c.created_at))
    row = (await session.execute(select(func.count(), age).select_from(waiting))).one()
    return Lag(row[0], max(float(row[1] or 0), 0.0))


async def prune(session: AsyncSession, *, keep: timedelta = KEEP, limit: int = 5_000) -> int:
    """Delete up to `limit` of the oldest rows that were published more than `keep` ago."""
    oldest = select(Outbox.seq).order_by(Outbox.seq).limit(limit).scalar_subquery()
    old: Any = await session.execute(
        delete(Outbox).where(Outbox.seq.in_(oldest), Outbox.sent_at < func.now() - keep)
    )
    return int(old.rowcount)
