"""What licence-svc does by itself: issue what is due, close what is overdue."""

import asyncio
import logging

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError

from kit import context, crash, traces
from kit.errors import Problem
from kit.jobs import Jobs
from kit.runtime import Runtime

from . import licences, orders, presentations
from .models import LicenceOrder

log = logging.getLogger(__name__)
jobs = Jobs()
BATCH = 5


@jobs.every(seconds=2)
async def issue_due(runtime: Runtime) -> None:
    """Issue the licences of approved cases; an order that fails waits, the others go on."""
    while True:
        async with runtime.sessions.begin() as session:
            due = await orders.take_due(session, limit=BATCH)
        if not due:
            return
        tasks = [asyncio.create_task(_issue(runtime, order)) for order in due]
        failed = [e for e in await asyncio.gather(*tasks, return_exceptions=True) if e]
        if failed:
            raise failed[0]


async def _issue(runtime: Runtime, order: LicenceOrder) -> None:
    # A task has a context of its own: what it asks and emits belongs to the case's request.
    context.request_id.set(order.correlationid)
    with traces.span("issue licence", parent=order.traceparent):
        await _try_issue(runtime, order)


async def _try_issue(runtime: Runtime, order: LicenceOrder) -> None:
    try:
        answers = await _ask(runtime, order)
        crash.point("licence_asked")
        async with runtime.sessions.begin() as session:
            await orders.fulfil(session, runtime.vault, runtime.parts["signer"], order.id, answers)
            crash.point("licence_in_transaction")
        crash.point("licence_issued")
        return
    except Problem as problem:
        service = problem.extra.get("service")
        trouble = f"{problem.code}:{service}" if service else problem.code
    except ValidationError:
        trouble = "answer_unfit"
    except IntegrityError:
        trouble = "conflict"
    log.warning("licence order %s put off: %s", order.id, trouble)
    async with runtime.sessions.begin() as session:
        await orders.put_off(session, order.id, trouble)


async def _ask(runtime: Runtime, order: LicenceOrder) -> orders.Answers:
    account = await runtime.calls.get(
        "identity",
        f"/internal/v1/accounts/{order.holder_id}/holder",
        params={"purpose": "licence_issue"},
    )
    case = await runtime.calls.get("case", f"/internal/v1/cases/{order.case_id}/licence-data")
    return orders.Answers(
        holder=orders.HolderFacts.model_validate(account).as_holder(order.holder_id),
        fields=orders.CaseFacts.model_validate(case).fields,
    )


@jobs.every(seconds=60)
async def expire_overdue(runtime: Runtime) -> None:
    """Close licences after their last day and presentations after their minute."""
    for expire in (licences.expire_overdue, presentations.expire_overdue):
        while True:
            async with runtime.sessions.begin() as session:
                count = await expire(session)
            if not count:
                break
