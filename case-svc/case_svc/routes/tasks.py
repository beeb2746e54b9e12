"""A department's desk: its tasks, by urgency."""

from fastapi import Request

from kit.auth import Reviewer
from kit.pages import Cursor, Limit, Page, Pager
from kit.routing import Session
from kit.routing import router as new_router

from .. import reviews, rights
from ..schemas import CorrectionIn, CorrectionOut, TaskDecisionIn, TaskOut, TaskState

router = new_router(prefix="/v1/tasks", tags=["tasks"])


@router.get("")
async def list_tasks(
    session: Session,
    caller: Reviewer,
    request: Request,
    limit: Limit = 20,
    cursor: Cursor = None,
    state: TaskState | None = None,
) -> Page[TaskOut]:
    """The tasks of the caller's department and region, the most urgent first."""
    filters = {"list": "tasks", "dept": caller.dept, "region": caller.region, "state": state}
    pager = Pager(request, limit, cursor, filters)
    rows = await reviews.desk(session, caller, state=state, after=pager.position, limit=pager.size)
    return pager.page(
        rows, TaskOut.model_validate, lambda row: [row.due, row.id], "/v1/tasks", state=state
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
