"""Events that a handler could not take: counted while it is tried, then kept for an operator."""

import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import LargeBinary, UniqueConstraint, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from .db import KitBase, Now
from .errors import Conflict, NotFound, Problem
from .ids import new_id
from .inbox import Later, Subscribers, Undecodable, apply

FRAMES = 6


class DeadLetter(KitBase):
    """An event that failed at one consumer. While `died_at` is empty it is still being tried."""

    __tablename__ = "dead_letter"
    id: Mapped[str] = mapped_column(primary_key=True)
    consumer: Mapped[str]
    event_id: Mapped[UUID]
    subject: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    error_class: Mapped[str]
    error: Mapped[str]
    """Codes and places in the code; never the error's own text, which may hold anything."""
    deliveries: Mapped[int]
    """How often it failed."""
    first_at: Mapped[Now]
    died_at: Mapped[datetime | None]
    replayed_at: Mapped[datetime | None]
    __table_args__ = (UniqueConstraint("consumer", "event_id"),)


class ReplayFailed(Conflict):
    code: ClassVar[str] = "replay_failed"
    title: ClassVar[tuple[str, str]] = ("重投失败", "The replay failed")


async def note_failure(
    session: AsyncSession,
    *,
    consumer: str,
    event_id: UUID,
    subject: str,
    body: bytes,
    error: BaseException,
    tries: int,
) -> tuple[int, bool]:
    """Count a failure. Returns how many there were, and whether the event is dead: at the
    `tries`-th failure and ever after."""
    row = insert(DeadLetter).values(
        id=new_id("dead"),
        consumer=consumer,
        event_id=event_id,
        subject=subject,
        body=body,
        error_class=type(error).__name__,
        error=describe(error),
        deliveries=1,
        died_at=func.now() if tries <= 1 else None,
    )
    failures = DeadLetter.deliveries + 1
    counted = row.on_conflict_do_update(
        index_elements=["consumer", "event_id"],
        set_={
            "deliveries": failures,
            "error_class": row.excluded.error_class,
            "error": row.excluded.error,
            "died_at": case(
                (DeadLetter.died_at.is_not(None), DeadLetter.died_at),
                (failures >= tries, func.now()),
                else_=None,
            ),
        },
    ).returning(DeadLetter.deliveries, DeadLetter.died_at)
    deliveries, died_at = (await session.execute(counted)).one()
    return deliveries, died_at is not None


async def note_success(session: AsyncSession, *, consumer: str, event_ids: Sequence[UUID]) -> None:
    """Events that failed before went through: forget the tries, mark dead ones as replayed."""
    mine = (DeadLetter.consumer == consumer, DeadLetter.event_id.in_(event_ids))
    await session.execute(delete(DeadLetter).where(*mine, DeadLetter.died_at.is_(None)))
    await session.execute(
        update(DeadLetter)
        .where(*mine, DeadLetter.replayed_at.is_(None))
        .values(replayed_at=func.now())
    )


async def page(
    session: AsyncSession, *, after: str | None = None, limit: int = 50, open_only: bool = True
) -> Sequence[DeadLetter]:
    """Dead letters, newest first; `after` is the id of the last one already seen."""
    query = select(DeadLetter).where(DeadLetter.died_at.is_not(None))
    if open_only:
        query = query.where(DeadLetter.replayed_at.is_(None))
    if after is not None:
        query = query.where(DeadLetter.id < after)
    return (await session.scalars(query.order_by(DeadLetter.id.desc()).limit(limit))).all()


async def count_open(session: AsyncSession) -> int:
    """Dead letters that nobody replayed yet."""
    dead = select(func.count()).select_from(DeadLetter)
    dead = dead.where(DeadLetter.died_at.is_not(None), DeadLetter.replayed_at.is_(None))
    return int(await session.scalar(dead) or 0)


async def replay(session: AsyncSession, on: Subscribers, service: str, letter_id: str) -> None:
    """Run the handler again, in the caller's transaction and with its inbox row as at any
    delivery. Does nothing when it was replayed before.

    Raises NotFound; ReplayFailed when the handler is gone or fails again: roll back then.
    """
    letter = await session.get(DeadLetter, letter_id, with_for_update=True)
    if letter is None or letter.died_at is None:
        raise NotFound("没有这条死信。", "There is no such dead letter.")
    if letter.replayed_at is not None:
        return
    consumer, event_id, body = letter.consumer, letter.event_id, letter.body
    subscription = on.find(service, consumer)
    if subscription is None:
        raise ReplayFailed("处理程序已不存在。", "Its handler no longer exists.")
    try:
        await apply(session, subscription, consumer, [subscription.read(body)])
    except (Problem, Later, Undecodable, DBAPIError, LookupError, ValueError) as error:
        raise ReplayFailed(
            f"再次失败:{describe(error)}", f"It failed again: {describe(error)}"
        ) from error
    await note_success(session, consumer=consumer, event_ids=[event_id])


def describe(error: BaseException) -> str:
    """What happened and where, without the error's text: values may be in it."""
    facts = [type(error).__name__]
    if isinstance(error, Problem):
        facts.append(error.code)
    elif isinstance(error, ValidationError):
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            facts.append(f"{'/'.join(map(str, fault['loc']))}:{fault['type']}")
    elif isinstance(error, DBAPIError):
        for name in ("sqlstate", "constraint_name", "table_name", "column_name"):
            cause = getattr(error.orig, "__cause__", None)
            value = getattr(error.orig, name, None) or getattr(cause, name, None)
            if value:
                facts.append(f"{name}={value}")
    elif isinstance(error, (Undecodable, AttributeError, NameError, ImportError)):
        # Their texts name things of the code.
        facts.append(str(error))
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    places = [f"{'/'.join(Path(f.filename).parts[-2:])}:{f.lineno} {f.name}" for f in frames]
    cause = error.__cause__
    because = [f"because of {describe(cause)}"] if isinstance(cause, ValueError) else []
    return "; ".join([" ".join(facts), *places, *because])[:2000]
