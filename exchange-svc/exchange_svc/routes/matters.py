"""'My matters': every case of the caller with whose turn it is."""

from fastapi import Request

from kit.auth import Applicant
from kit.pages import Cursor, Limit, Page, clamp, link
from kit.routing import Session
from kit.routing import router as new_router

from .. import matters
from ..schemas import MatterOut

router = new_router(prefix="/v1/me/matters", tags=["matters"])


@router.get("")
async def my_matters(
    session: Session, caller: Applicant, request: Request, limit: Limit = 20, cursor: Cursor = None
) -> Page[MatterOut]:
    """The caller's matters, the latest change first."""
    cursors, limit = request.app.state.runtime.cursors, clamp(limit)
    filters = {"list": "matters", "subject": caller.subject}
    rows = await matters.of(
        session, caller.subject, after=cursors.read(cursor, filters), limit=limit
    )
    following = None
    if len(rows) > limit:
        last = rows[limit - 1]
        mark = cursors.write([last.changed_at.isoformat(), last.case_id], filters)
        following = link("/v1/me/matters", mark, limit=limit)
    return Page[MatterOut](
        items=[MatterOut.model_validate(row) for row in rows[:limit]], next=following
    )
