"""The feed: every event of the platform in one lasting order, to be read from any point on."""

from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import Envelope

from .models import FeedEntry

SETTLED = text("writer < pg_snapshot_xmin(pg_current_snapshot())")


async def keep(session: AsyncSession, envelope: Envelope) -> None:
    """Append an event, once."""
    row = insert(FeedEntry).values(
        event_id=str(envelope.id),
        type=envelope.event_type,
        subject=envelope.subject,
        region=envelope.region,
        dept=envelope.dept,
        body=envelope.model_dump_json(exclude_none=True),
    )
    await session.execute(row.on_conflict_do_nothing(index_elements=["event_id"]))


async def after(
    session: AsyncSession,
    *,
    seq: int,
    limit: int,
    dept: str | None,
    subject: str | None = None,
) -> Sequence[FeedEntry]:
    """At most `limit` events behind `seq`, in order; of one department unless `dept` is None."""
    query = select(FeedEntry).where(FeedEntry.seq > seq, SETTLED).order_by(FeedEntry.seq)
    if dept is not None:
        query = query.where(FeedEntry.dept == dept)
    if subject is not None:
        query = query.where(FeedEntry.subject == subject)
    return (await session.scalars(query.limit(limit))).all()
