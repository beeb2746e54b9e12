"""Events by pull over HTTP, for partners that cannot speak NATS, and for operators."""

import json
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Path, Query, Request
from sqlalchemy import ColumnElement, true

from contracts.event import EVENTS
from kit.auth import Caller, Gate, Public
from kit.errors import Forbidden, NotFound
from kit.moments import Moment
from kit.pages import Limit
from kit.routing import Session
from kit.routing import router as new_router
from kit.samples import shown

from .. import feed
from ..models import FeedEntry
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
    request: Request,
    after: Annotated[
        int, Query(ge=0, le=2**62, description="`last` of the answer before; 0: from the start")
    ] = 0,
    limit: Limit = 100,
    subject: Annotated[
        str | None,
        Query(
            max_length=60,
            pattern=r"^[a-z]+_[0-9a-z_]+$",
            description="only what happened to this thing",
            examples=["case_019920c47a1e7cc29d425b6f0e9d6c4c"],
        ),
    ] = None,
    since: Annotated[
        Moment | None,
        Query(
            description="begin with what happened at this moment: to read a night again. Then "
            "follow `next`",
            examples=["2026-09-01T01:30:00Z"],
        ),
    ] = None,
) -> FeedOut:
    """Events behind the cursor `after`, or `since` a moment, in lasting order; partners get their
    department's own, supervisors those of their department and region."""
    limit = min(limit, MOST)
    if since is not None:
        start = await feed.before_first(session, since)
        if start is None:
            _reach(caller)
            return _page(request, [], after, limit=limit, subject=subject, since=since)
        after = max(after, start)
    rows = await feed.after(session, seq=after, limit=limit, within=_reach(caller), subject=subject)
    return _page(request, rows, after, limit=limit, subject=subject)


def _page(request: Request, rows: Sequence[FeedEntry], after: int, **query: Any) -> FeedOut:
    """What was found behind `after`, and where to ask next: with the rest of the query."""
    last = rows[-1].seq if rows else after
    if query.get("since") is not None:
        query["since"] = query["since"].isoformat()
    given = {name: value for name, value in query.items() if value is not None}
    request.state.next = f"/v1/events?{urlencode({'after': last, **given})}"
    return FeedOut(
        events=[json.loads(row.body) for row in rows], last=last, next=request.state.next
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
    """JSON Schema of an event's `data`, as `dataschema` of each event names it; an event's whole
    `type` will do as well."""
    event = EVENTS.get(event_type.removeprefix("cn.beam."))
    if event is None:
        raise NotFound(
            "没有这种事件。全部事件见 /docs/events。", "There is no such event; see /docs/events."
        )
    return event.schema_document()
