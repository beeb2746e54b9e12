"""Who may see or touch which case: checked where the row is loaded, nowhere else.

Applicants reach their own cases, agents those under their mandate; staff those of their
department, region and items, or those in which their department has a task. Whatever somebody
may not see is "not found" to them.
"""

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from contracts.reads import CaseDataRead
from kit import reads
from kit.auth import Caller
from kit.crash import planted
from kit.errors import NotFound
from kit.lookups import Lookup, Reader
from kit.rights import reach

from . import mandates
from .models import Case, Task

# (The frozen copy of its item is most of a case, and no page of the case shows it.)
_CASE = Lookup(select(Case).options(defer(Case.item)), by=Case.id)


def no_case() -> NotFound:
    return NotFound(
        "没有找到这个办件。请核对编号,或换用申请时的账号登录。",
        "There is no such case for you. Check the id and the account.",
    )


def leads(caller: Caller) -> ColumnElement[bool]:
    """The condition on Case under which it is the staff's own department that leads it."""
    return reach(caller, dept=Case.dept, region=Case.region, item=Case.item_code)


def on_desk(caller: Caller) -> ColumnElement[bool]:
    """The condition on Task (joined with its Case) under which it lies on the caller's desk."""
    return reach(caller, dept=Task.dept, region=Task.region, item=Case.item_code)


def own(caller: Caller) -> ColumnElement[bool]:
    """The condition on Case under which the caller is its applicant, or may act for him: whoever
    has a mandate reaches the cases that were opened under it, as long as it stands."""
    mine: ColumnElement[bool] = Case.applicant_id == caller.subject
    return mine if caller.mandate is None else and_(mine, mandates.stands(caller))


def visible(caller: Caller) -> ColumnElement[bool]:
    """The condition on Case under which the caller may read it."""
    if caller.kind in ("person", "enterprise"):
        return own(caller)
    if caller.kind == "staff":
        helping = exists().where(Task.case_id == Case.id, on_desk(caller))
        return and_(Case.state != "draft", or_(leads(caller), helping))
    return Case.id.is_(None)


async def case_for(
    session: AsyncSession, case_id: str, caller: Caller, *, lock: bool = False
) -> Case:
    """The case, if the caller may see it; locked for a change when asked. Raises NotFound."""
    query = select(Case).where(Case.id == case_id, visible(caller))
    if lock:
        query = query.with_for_update()
    case: Case | None = await session.scalar(query)
    if case is None:
        raise no_case()
    await _told(session, caller, case)
    return case


async def case_to_read(
    session: AsyncSession, lookups: Reader, case_id: str, caller: Caller
) -> Case:
    """The case, if the caller may see it, to be read and nothing else. Raises NotFound."""
    if caller.kind not in ("person", "enterprise") or caller.mandate is not None:
        return await case_for(session, case_id, caller)
    case = await lookups.one(_CASE, case_id)
    if case is None or case.applicant_id != caller.subject:  # as in `own`
        raise no_case()
    return case


async def _told(session: AsyncSession, caller: Caller, case: Case) -> None:
    read = CaseDataRead(
        account_id=case.applicant_id, kind="case", object_id=case.id, **reads.reader(caller)
    )
    await reads.tell(session, caller, read)


async def lead_case(session: AsyncSession, case_id: str, caller: Caller) -> Case:
    """The case, locked, for staff of its lead department and region. Raises NotFound."""
    query = select(Case).where(Case.id == case_id, Case.state != "draft", leads(caller))
    case: Case | None = await session.scalar(query.with_for_update())
    if case is None:
        raise no_case()
    await _told(session, caller, case)
    return case


async def own_case(session: AsyncSession, case_id: str, caller: Caller) -> Case:
    """The applicant's own case, locked, for him and who may act for him. Raises NotFound."""
    query = select(Case).where(Case.id == case_id, own(caller))
    case: Case | None = await session.scalar(query.with_for_update())
    if case is None:
        raise no_case()
    return case


async def task_for(session: AsyncSession, task_id: str, caller: Caller) -> tuple[Task, Case]:
    """A task of the caller's department with its case, both locked (case first, so that two
    departments never wait on each other in a circle). Raises NotFound."""
    missing = NotFound(
        "没有找到这个审批任务。请核对编号。", "There is no such task on your desk. Check the id."
    )
    case_id = await session.scalar(
        select(Task.case_id)
        .join(Case, Case.id == Task.case_id)
        .where(Task.id == task_id, on_desk(caller))
    )
    if case_id is None:
        raise missing
    case = await session.get(Case, case_id, with_for_update=not planted("case_not_locked"))
    task = await session.get(Task, task_id, with_for_update=True)
    if case is None or task is None:
        raise missing
    return task, case
