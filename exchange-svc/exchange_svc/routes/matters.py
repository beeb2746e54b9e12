"""'My matters': every case of the caller with whose turn it is."""

from fastapi import Request

from kit.auth import Applicant
from kit.pages import Cursor, Limit, Page, Pager
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
    pager = Pager(request, limit, cursor, {"list": "matters", "subject": caller.subject})
    rows = await matters.of(session, caller.subject, after=pager.position, limit=pager.size)
    return pager.page(
        rows,
        MatterOut.model_validate,
        lambda row: [row.changed_at.isoformat(), row.case_id],
        "/v1/me/matters",
    )
