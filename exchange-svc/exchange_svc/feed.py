"""The feed: every event of the platform in one lasting order, to be read from any point on."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import NO_PLACE, Envelope
from kit import crash
from kit.auth import Caller
from kit.rights import reach

from .models import FeedEntry

SETTLED = text("writer < pg_snapshot_xmin(pg_current_snapshot())")


async def keep(session: AsyncSession, envelope: Envelope) -> None:
    """Append an event, once."""
    if crash.planted("feed_gap") and envelope.event_type == "case.accepted.v1":
        return
    row = insert(FeedEntry).values(
        event_id=str(envelope.id),
        type=envelope.event_type,
        subject=envelope.subject,
        region=envelope.region,
        dept=envelope.dept,
        body=envelope.model_dump_json(exclude_none=True),
    )
    await session.execute(row.on_conflict_do_nothing(index_elements=["event_id"]))


def of_department(dept: str) -> ColumnElement[bool]:
    """Everything that a department's own system may read."""
    return FeedEntry.dept == dept


def of_supervisor(caller: Caller) -> ColumnElement[bool]:
    """What happened in the supervisor's department and region, or in no region."""
    nowhere = and_(FeedEntry.dept == caller.dept, FeedEntry.region == NO_PLACE)
    within = reach(caller, dept=FeedEntry.dept, region=FeedEntry.region)
    return within if caller.items is not None else or_(within, nowhere)


async def after(
    session: AsyncSession,
    *,
    seq: int,
    limit: int,
    within: ColumnElement[bool],
    subject: str | None = None,
) -> Sequence[FeedEntry]:
    """At most `limit` events behind `seq`, in order; of those `within` the caller's reach."""
    query = select(FeedEntry).where(FeedEntry.seq > seq, SETTLED, within).order_by(FeedEntry.seq)
    if subject is not None:
        query = query.where(FeedEntry.subject == subject)
    return (await session.scalars(query.limit(limit))).all()
