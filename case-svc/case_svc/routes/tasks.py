"""A department's desk: its tasks, by urgency."""

from typing import Annotated

from fastapi import Query, Request

from kit.auth import Reviewer
from kit.pages import Cursor, Limit, Page, clamp, link
from kit.routing import Session
from kit.routing import router as new_router

from .. import reviews, rights
from ..schemas import CorrectionIn, CorrectionOut, TaskDecisionIn, TaskOut

router = new_router(prefix="/v1/tasks", tags=["tasks"])


@router.get("")
async def list_tasks(
    session: Session,
    caller: Reviewer,
    request: Request,
    limit: Limit = 20,
    cursor: Cursor = None,
    state: Annotated[str | None, Query(max_length=30, pattern=r"^[a-z_]+$")] = None,
) -> Page[TaskOut]:
    """The tasks of the caller's department and region, the most urgent first."""
    cursors, limit = request.app.state.runtime.cursors, clamp(limit)
    filters = {"list": "tasks", "dept": caller.dept, "region": caller.region, "state": state}
    after = cursors.read(cursor, filters)
    rows = await reviews.desk(session, caller, state=state, after=after, limit=limit)
    following = None
    if len(rows) > limit:
        last = rows[limit - 1]
        mark = cursors.write([last.due, last.id], filters)
        following = link("/v1/tasks", mark, limit=limit, state=state)
    return Page[TaskOut](
        items=[TaskOut.model_validate(row) for row in rows[:limit]], next=following
    )


@router.post("/{task_id}/claim")
async def claim_task(session: Session, caller: Reviewer, task_id: str) -> TaskOut:
    """Take a task off the desk."""
    task, case = await rights.task_for(session, task_id, caller)
    reviews.claim(session, task, case, caller)
    return TaskOut.model_validate(task)


@router.post("/{task_id}/decide")
async def decide_task(
    session: Session, caller: Reviewer, task_id: str, body: TaskDecisionIn
) -> TaskOut:
    """Give the department's opinion; the last opinion moves the case on."""
    task, case = await rights.task_for(session, task_id, caller)
    await reviews.decide_task(session, task, case, caller, **body.model_dump())
    return TaskOut.model_validate(task)


@router.post("/{task_id}/request-correction", status_code=201)
async def request_correction(
    session: Session, caller: Reviewer, task_id: str, body: CorrectionIn, request: Request
) -> CorrectionOut:
    """Ask the applicant for more, once and in full; the clock stands still."""
    task, case = await rights.task_for(session, task_id, caller)
    days = request.app.state.runtime.settings.correction_days
    correction = await reviews.request_correction(
        session, task, case, caller, days=days, **body.model_dump()
    )
    await session.flush()
    await session.refresh(correction)
    return CorrectionOut.model_validate(correction)
