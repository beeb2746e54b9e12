"""Events by pull over HTTP, for partners that cannot speak NATS, and for operators."""

import json
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Path, Query
from sqlalchemy import ColumnElement, true

from contracts.event import EVENTS
from kit.auth import Caller, Gate, Public
from kit.errors import Forbidden, NotFound
from kit.pages import Limit
from kit.routing import Session
from kit.routing import router as new_router
from kit.samples import shown

from .. import feed
from ..schemas import FeedOut

router = new_router(prefix="/v1/events", tags=["events"])
Reader = Annotated[Caller, Depends(Gate(kinds=("partner", "staff")))]
MOST = 1000


def _reach(caller: Caller) -> ColumnElement[bool]:
    """Which events the caller may read."""
    if "operator" in caller.roles:
        return true()
    if caller.dept and caller.kind == "partner":
        return feed.of_department(caller.dept)
    if caller.dept and "supervisor" in caller.roles:
        return feed.of_supervisor(caller)
    raise Forbidden(
        "事件流面向部门系统、督办和运维人员。",
        "The feed is for departments' systems, supervisors and operators.",
    )


@router.get("")
async def read_events(
    session: Session,
    caller: Reader,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Limit = 100,
    subject: Annotated[str | None, Query(max_length=60, pattern=r"^[a-z]+_[0-9a-z_]+$")] = None,
) -> FeedOut:
    """Events behind the cursor `after`, in lasting order; partners get their department's
    own, supervisors those of their department and region."""
    limit = min(limit, MOST)
    rows = await feed.after(session, seq=after, limit=limit, within=_reach(caller), subject=subject)
    last = rows[-1].seq if rows else after
    query = {"after": last, "limit": limit} | ({"subject": subject} if subject else {})
    return FeedOut(
        events=[json.loads(row.body) for row in rows],
        last=last,
        next=f"/v1/events?{urlencode(query)}",
    )


@router.get(
    "/schemas/{event_type}",
    responses=shown(
        {
            "type": "object",
            "properties": {"case_id": {"type": "string"}},
            "required": ["case_id"],
            "title": "CaseSubmitted",
        }
    ),
)
async def event_schema(
    _: Public, event_type: Annotated[str, Path(max_length=80)]
) -> dict[str, Any]:
    """JSON Schema of an event's `data`, as `dataschema` of each event names it."""
    event = EVENTS.get(event_type)
    if event is None:
        raise NotFound("没有这种事件。", "There is no such event.")
    return event.model_json_schema(mode="serialization")
