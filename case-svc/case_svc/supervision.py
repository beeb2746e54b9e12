"""Supervision (电子监察): what departments are late with, or soon will be."""

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kit import clock

from .clocks import today
from .models import Case, Task

SOON = timedelta(days=2)
"""A task that is due within these (calendar) days is in danger."""
STALLED = timedelta(days=3)
"""A task that nobody has claimed for so long stands still."""


async def board(session: AsyncSession) -> dict[str, Any]:
    """Open tasks by department: overdue, in danger, stalled. Those of cases that wait for their
    applicant do not count, as their clock stands still."""
    late = Task.due < today()
    soon = Task.due.between(today(), today() + SOON)
    stalled = (Task.state == "pending") & (Task.created_at < clock.now() - STALLED)
    count = func.count()
    rows = await session.execute(
        select(
            Task.dept,
            count,
            count.filter(late),
            count.filter(soon),
            count.filter(stalled),
            func.min(Task.due),
        )
        .join(Case, Case.id == Task.case_id)
        .where(Task.state.in_(("pending", "claimed")), Case.state == "in_review")
        .group_by(Task.dept)
        .order_by(Task.dept)
    )
    departments = [
        {
            "dept": dept,
            "open": total,
            "overdue": overdue,
            "in_danger": danger,
            "stalled": still,
            "earliest_due": due.isoformat(),
        }
        for dept, total, overdue, danger, still, due in rows
    ]
    sums = {
        name: sum(int(str(row[name])) for row in departments)
        for name in ("open", "overdue", "in_danger", "stalled")
    }
    return {**sums, "departments": departments}
