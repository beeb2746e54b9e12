"""What of the money a person has to see to."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from .models import Attempt, Refund


async def board(session: AsyncSession) -> dict[str, Any]:
    """Refunds that a channel refused for good (`GET /v1/refunds?state=error`), and attempts whose
    end nobody knows, with the oldest of each."""
    refused = await _count(session, Refund, Refund.state == "error")
    unknown = await _count(session, Attempt, Attempt.state == "unknown")
    return {"refunds_refused": refused, "attempts_unknown": unknown}


async def _count(session: AsyncSession, kind: Any, which: Any) -> dict[str, Any]:
    query = select(func.count(), func.min(kind.created_at)).where(which)
    number, oldest = (await session.execute(query)).one()
    return {"count": number, "oldest_at": oldest.isoformat() if oldest is not None else None}
