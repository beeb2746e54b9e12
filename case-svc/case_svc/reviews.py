"""Intake and review: the counter accepts, departments review in parallel, one may ask for more."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.case import Outcome, TaskAssigned
from kit import crash
from kit.auth import Caller
from kit.clock import now
from kit.errors import Conflict, IllegalMove
from kit.ids import derived_id, new_id
from kit.lookups import Lookup
from kit.outbox import emit
from kit.states import edge_of, move

from . import clocks
from .models import CASE_TRANSITIONS, TASK_TRANSITIONS, Case, Correction, Pause, Task
from .rights import on_desk
from .timeline import By, note, step

TASKS = Lookup(select(Task).order_by(Task.dept), by=Task.case_id)
CORRECTIONS = Lookup(select(Correction).order_by(Correction.id), by=Correction.case_id)


async def accept(session: AsyncSession, case: Case, caller: Caller) -> None:
    """Take the (locked) case in: the clock starts, each reviewing department gets its task."""
    edge_of(case, CASE_TRANSITIONS, "accept")  # a decided case has no clock to start
    case.accepted_on = clocks.today()
    due = clocks.deadlines(case, [])
    step(
        session,
        case,
        "accept",
        By.caller(caller),
        case_id=case.id,
        item_code=case.item_code,
        applicant_id=case.applicant_id,
        promised_due=due.promised,
        statutory_due=due.statutory,
    )
    for dept in case.item["review_depts"]:
        task = Task(
            id=derived_id("task", case.id, dept),
            case_id=case.id,
            state="pending",
            version=1,
            region=case.region,
            dept=dept,
            due=due.promised,
        )
        session.add(task)
        emit(
            session,
            TaskAssigned(task_id=task.id, case_id=case.id, item_code=case.item_code, due=task.due),
            subject=task.id,
            version=1,
            region=case.region,
            dept=dept,
        )


def refuse(
    session: AsyncSession, case: Case, caller: Caller, *, reason_code: str, reason: str
) -> None:
    """Do not take the (locked) case in; the reason is told to the applicant."""
    case.reason_code, case.reason, case.outcome = reason_code, reason, "not_accepted"
    step(
        session,
        case,
        "refuse",
        By.caller(caller),
        text=reason,
        case_id=case.id,
        applicant_id=case.applicant_id,
        reason_code=reason_code,
    )


async def desk(
    session: AsyncSession, caller: Caller, *, state: str | None, after: list[str] | None, limit: int
) -> Sequence[Task]:
    """The tasks of the caller's department and region, the most urgent first."""
    query = (
        select(Task)
        .join(Case, Case.id == Task.case_id)
        .where(on_desk(caller))
        .order_by(Task.due, Task.id)
        .limit(limit + 1)
    )
    if state:
        query = query.where(Task.state == state)
    if after:
        day, task_id = date.fromisoformat(after[0]), after[1]
        query = query.where((Task.due > day) | ((Task.due == day) & (Task.id > task_id)))
    return (await session.scalars(query)).all()


async def tasks_of(session: AsyncSession, case_id: str) -> Sequence[Task]:
    found = await session.scalars(select(Task).filter_by(case_id=case_id).order_by(Task.dept))
    return found.all()


def claim(session: AsyncSession, task: Task, case: Case, caller: Caller) -> None:
    """Take a task off the desk; a task claimed by oneself stays claimed."""
    if task.state == "claimed" and task.claimed_by == caller.subject:
        return
    if task.state == "claimed":
        raise Conflict(
            "此任务已由同事领取。请选择其他任务。", "A colleague has this task; choose another."
        )
    move(session, task, TASK_TRANSITIONS, "claim")
    task.claimed_by = caller.subject
    note(session, case, "claim_task", By.caller(caller))


def _mine(task: Task, caller: Caller) -> None:
    if task.state == "claimed" and task.claimed_by != caller.subject:
        raise Conflict(
            "此任务由同事领取,只有领取人可以处理。",
            "A colleague has this task; only who claimed it can act.",
        )


async def decide_task(
    session: AsyncSession,
    task: Task,
    case: Case,
    caller: Caller,
    *,
    outcome: Outcome,
    opinion: str,
) -> None:
    """The department's opinion. When it was the last one, the case goes on (task and case locked).

    Raises IllegalMove when the task is not claimed, Conflict when a colleague holds it or the
    department still waits for a correction.
    """
    _mine(task, caller)
    if outcome == "approved" and await _open_corrections(session, case.id, task.id):
        raise Conflict(
            "本部门要求的补正还没有答复,暂不能同意。",
            "The applicant has not answered your department's correction yet.",
        )
    task.opinion, task.decided_by, task.decided_at = opinion, caller.subject, now()
    move(
        session,
        task,
        TASK_TRANSITIONS,
        "approve" if outcome == "approved" else "reject",
        task_id=task.id,
        case_id=case.id,
        outcome=outcome,
    )
    note(session, case, f"task_{outcome}", By.caller(caller), text=opinion)
    await go_on(session, case, By.caller(caller))


async def go_on(session: AsyncSession, case: Case, by: By) -> None:
    """When every department has spoken: ask for the fee, or go to the decision."""
    if case.state != "in_review":
        return
    await session.flush()
    states = {task.state for task in await tasks_of(session, case.id)}
    if states & {"pending", "claimed"}:
        return
    fee = case.item.get("fee")
    if fee and "rejected" not in states:
        step(
            session,
            case,
            "ask_fee",
            by,
            case_id=case.id,
            applicant_id=case.applicant_id,
            item_code=case.item_code,
            item_name=case.item_name,
            fee_code=fee["code"],
            amount_fen=fee["amount_fen"],
        )
    else:
        step(session, case, "reviewed", by)


async def _open_corrections(
    session: AsyncSession, case_id: str, task_id: str | None = None
) -> Sequence[Correction]:
    query = select(Correction).where(
        Correction.case_id == case_id, Correction.answered_at.is_(None)
    )
    if task_id:
        query = query.where(Correction.task_id == task_id)
    return (await session.scalars(query)).all()


async def request_correction(
    session: AsyncSession,
    task: Task,
    case: Case,
    caller: Caller,
    *,
    kind: str,
    what: str,
    slots: list[str],
    days: int,
) -> Correction:
    """Ask the applicant for more, once and in full; the clock stands still until the answer.

    行政许可法 art. 32(4): what must be mended is told at one time. Hence one open request per
    task. `days`: working days to answer.
    """
    _mine(task, caller)
    if task.state != "claimed":
        raise IllegalMove("请先领取任务,再要求补正。", "Claim the task before asking for more.")
    if await _open_corrections(session, case.id, task.id):
        raise Conflict(
            "本部门已要求补正,请等待申请人答复。",
            "Your department has asked already; wait for the applicant's answer.",
        )
    correction = Correction(
        id=new_id("corr"),
        case_id=case.id,
        task_id=task.id,
        dept=task.dept,
        kind=kind,
        what=what,
        slots=slots,
        due=clocks.in_working_days(days),
        asked_by=caller.subject,
    )
    session.add(correction)
    if case.state == "in_review" and not crash.planted("pause_forgotten"):
        session.add(
            Pause(
                id=new_id("pause"),
                case_id=case.id,
                started_on=clocks.today_or(case.accepted_on),
                reason="correction",
            )
        )
    step(
        session,
        case,
        "request_correction",
        By.caller(caller),
        text=what,
        case_id=case.id,
        applicant_id=case.applicant_id,
        correction_id=correction.id,
        task_id=task.id,
        asked_by_dept=task.dept,
        due=correction.due,
    )
    return correction


async def corrections_of(session: AsyncSession, case_id: str) -> Sequence[Correction]:
    found = await session.scalars(
        select(Correction).filter_by(case_id=case_id).order_by(Correction.id)
    )
    return found.all()


async def correct(session: AsyncSession, case: Case, caller: Caller) -> None:
    """The applicant's answer to all that was asked; the clock runs again."""
    waiting = await _open_corrections(session, case.id)
    step(
        session,
        case,
        "correct",
        By.caller(caller),
        case_id=case.id,
        applicant_id=case.applicant_id,
        correction_id=waiting[0].id if waiting else "",
    )
    for correction in waiting:
        correction.answered_at = now()
    pauses = select(Pause).where(Pause.case_id == case.id, Pause.ended_on.is_(None))
    for pause in await session.scalars(pauses):
        pause.ended_on = clocks.today_or(pause.started_on)
    await go_on(session, case, By.caller(caller))
