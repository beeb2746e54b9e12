"""The feed: every event of the platform in one lasting order, to be read from any point on."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import NO_PLACE, Envelope
from kit import crash
from kit.auth import Caller
from kit.rights import reach

from .models import FeedEntry

SETTLED = text("writer < pg_snapshot_xmin(pg_current_snapshot())")
_KEEP = text("""
insert into feed_entry (event_id, type, subject, region, dept, body)
select * from unnest(
  cast(:ids as text[]), cast(:types as text[]), cast(:subjects as text[]),
  cast(:regions as text[]), cast(:depts as text[]), cast(:bodies as text[]))
on conflict (event_id) do nothing
""")


async def keep(session: AsyncSession, *envelopes: Envelope) -> None:
    """Append events in this order, each once."""
    if crash.planted("feed_gap"):
        envelopes = tuple(e for e in envelopes if e.event_type != "case.accepted.v1")
    columns = {
        "ids": [str(e.id) for e in envelopes],
        "types": [e.event_type for e in envelopes],
        "subjects": [e.subject for e in envelopes],
        "regions": [e.region for e in envelopes],
        "depts": [e.dept for e in envelopes],
        "bodies": [e.model_dump_json(exclude_none=True) for e in envelopes],
    }
    await session.execute(_KEEP, columns)


_SINCE = text("""
select min(seq) from feed_entry
where kept_at >= :since
  and kept_at < (select min(kept_at) from feed_entry where kept_at >= :since) + interval '1 minute'
""")


async def before_first(session: AsyncSession, since: datetime) -> int | None:
    """The cursor behind which stands everything that was kept since then, and so everything that
    happened since: an event is kept after it happened. None when there is nothing yet.

    `kept_at` is when a transaction began, `seq` when it wrote: of two that overlap, the later row
    may have the smaller number. None lasts a minute.
    """
    first = await session.scalar(_SINCE, {"since": since})
    return None if first is None else int(first) - 1


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
