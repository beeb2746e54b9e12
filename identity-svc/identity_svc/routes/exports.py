"""The export of one's own data over HTTP."""

from fastapi import Response
from fastapi.responses import StreamingResponse

from kit import routing
from kit.auth import Applicant
from kit.clock import now
from kit.routing import Session

from .. import archives, exports, firms
from ..schemas_exports import ExportOut, ExportsOut
from ..sign_in import ways
from .web import At

router = routing.router(prefix="/v1/me/exports", tags=["my data"])


async def _let_in(session: Session, caller: Applicant) -> None:
    """The person himself, or who manages the firm; signed in just now."""
    await ways.fresh(session, caller, for_firm=True)
    if caller.kind == "enterprise":
        await firms.managed(session, caller.subject, caller)


@router.post("", status_code=201)
async def ask_export(session: Session, caller: Applicant, response: Response) -> ExportOut:
    """Gather a copy of what all services hold of me, after a fresh sign-in; the one before is
    deleted. One at a time."""
    await _let_in(session, caller)
    row = await exports.ask(session, caller.subject)
    await session.flush()
    response.headers["location"] = f"/v1/me/exports/{row.id}"
    return ExportOut.model_validate(await exports.view(session, row))


@router.get("")
async def list_exports(session: Session, caller: Applicant) -> ExportsOut:
    """My exports that are there, the newest first."""
    rows = await exports.latest(session, caller.subject)
    return ExportsOut(
        items=[ExportOut.model_validate(await exports.view(session, row)) for row in rows]
    )


@router.get("/{export_id}")
async def read_export(session: Session, caller: Applicant, export_id: str) -> ExportOut:
    """How far my export is: who has told everything, and until when it can be downloaded."""
    row = await exports.own(session, caller.subject, export_id)
    return ExportOut.model_validate(await exports.view(session, row))


@router.get(
    "/{export_id}/archive",
    response_class=Response,
    responses={
        200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def download_export(
    at: At, session: Session, caller: Applicant, export_id: str
) -> StreamingResponse:
    """My data as a ZIP of JSON files with a page that explains them, after a fresh sign-in."""
    await _let_in(session, caller)
    row = await exports.own(session, caller.subject, export_id)
    exports.downloadable(row, now())
    headers = {
        "content-disposition": 'attachment; filename="my-data.zip"',
        "cache-control": "no-store",
    }
    body = archives.stream(at.runtime, row)
    return StreamingResponse(body, media_type="application/zip", headers=headers)
