"""What of the money a person has to see to: counts for operators and for Prometheus."""

from typing import Any

from prometheus_client import Gauge
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from kit.clock import now

from .models import Attempt, Refund
from .models_reconciliation import Difference, DifferenceState, DifferenceType

SERVICE = "payment"
OPEN = Gauge(
    "beam_payment_differences_open",
    "Open differences between bills of channels and the books",
    ["service", "type"],
)
UNRECONCILED = Gauge(
    "beam_payment_unreconciled_seconds",
    "For how long the oldest day that is not matched or closed could have been; 0 when there is "
    "none",
    ["service"],
)
_LAST = text(
    "select distinct on (channel) channel, id, day, state, trade_count + refund_count as lines, "
    "moved_fen - booked_fen as delta_fen, finished_at, loaded_at, problem "
    "from reconciliation order by channel, (digest is null), day desc"
)
# A day could be reconciled from ten o'clock on the next one.
_UNENDED = text(
    "select count(*), min(day), min((day + interval '1 day 10 hours') at time zone "
    "'Asia/Shanghai') from reconciliation "
    "where state = 'differs' or (state = 'waiting' "
    "and (day + interval '1 day 10 hours') at time zone 'Asia/Shanghai' <= now())"
)


async def board(session: AsyncSession) -> dict[str, Any]:
    """Refunds that a channel refused for good (`GET /v1/refunds?state=error`), attempts whose
    end nobody knows, with the oldest of each; and how the daily reconciliation stands: the last
    day of each channel whose bill was read, open differences by type, days that are not ended."""
    refused = await _count(session, Refund, Refund.state == "error")
    unknown = await _count(session, Attempt, Attempt.state == "unknown")
    last = await session.execute(_LAST)
    types = await _open(session)
    days, oldest, _ = (await session.execute(_UNENDED)).one()
    return {
        "refunds_refused": refused,
        "attempts_unknown": unknown,
        "reconciliations": [_shown(row._mapping) for row in last],
        "differences_open": {
            "count": sum(found["count"] for found in types.values()),
            "oldest_at": min((found["oldest_at"] for found in types.values()), default=None),
            "types": types,
        },
        "days_unreconciled": {
            "count": days,
            "oldest_day": oldest.isoformat() if oldest is not None else None,
        },
    }


async def measure(session: AsyncSession) -> None:
    """Set the gauges."""
    types = await _open(session)
    for type_ in DifferenceType:
        OPEN.labels(SERVICE, type_.value).set(types.get(type_, {}).get("count", 0))
    _, _, since = (await session.execute(_UNENDED)).one()
    waited = (now() - since).total_seconds() if since is not None else 0
    UNRECONCILED.labels(SERVICE).set(max(waited, 0))


async def _open(session: AsyncSession) -> dict[str, dict[str, Any]]:
    rows = await session.execute(
        select(Difference.type, func.count(), func.min(Difference.found_at))
        .where(Difference.state == DifferenceState.OPEN)
        .group_by(Difference.type)
        .order_by(Difference.type)
    )
    return {
        type_: {"count": number, "oldest_at": oldest.isoformat()} for type_, number, oldest in rows
    }


async def _count(session: AsyncSession, kind: Any, which: Any) -> dict[str, Any]:
    query = select(func.count(), func.min(kind.created_at)).where(which)
    number, oldest = (await session.execute(query)).one()
    return {"count": number, "oldest_at": oldest.isoformat() if oldest is not None else None}


def _shown(row: Any) -> dict[str, Any]:
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in row.items()
    }
