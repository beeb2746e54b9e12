"""What an applicant does with a case, and what everyone concerned reads of it."""

from typing import Any

from fastapi import Request, Response

from contracts.reads import CaseDataRead
from kit import reads
from kit.auth import AnyoneOrAgent, ApplicantOrAgent
from kit.lookups import Lookups
from kit.pages import Cursor, Limit, Page, Pager
from kit.routing import (
    NOT_MODIFIED,
    Creating,
    IfMatch,
    Session,
    check_version,
    etag,
    not_modified,
)
from kit.routing import router as new_router

from .. import cases, clocks, materials, reviews, rights, timeline, views
from ..schemas import CaseLine, CaseOut, CaseState, ClockOut, DraftIn, SaveIn, SlotOut, TimelineOut

router = new_router(prefix="/v1/cases", tags=["cases"])
UNFIT: dict[int | str, dict[str, Any]] = {415: {"description": "neither PDF, PNG nor JPEG"}}


@router.post("", status_code=201)
async def open_case(
    session: Creating, caller: ApplicantOrAgent, body: DraftIn, request: Request, response: Response
) -> CaseOut:
    """Open a draft of an item; what the government already holds is not asked for."""
    runtime = request.app.state.runtime
    case, slots = await cases.open_draft(
        session, runtime.calls, runtime.vault, caller, **body.model_dump()
    )
    response.headers["etag"] = etag(case.version)
    response.headers["location"] = f"/v1/cases/{case.id}"
    return views.opened(runtime.vault, case, slots)


@router.get("")
async def list_cases(
    session: Session,
    caller: AnyoneOrAgent,
    request: Request,
    limit: Limit = 20,
    cursor: Cursor = None,
    state: CaseState | None = None,
) -> Page[CaseLine]:
    """The caller's cases, or those of the caller's department and region; newest first."""
    filters = {
        "list": "cases",
        "subject": caller.subject,
        "mandate": caller.mandate,
        "state": state,
    }
    pager = Pager(request, limit, cursor, filters)
    rows = await cases.listed(session, caller, after=pager.after, limit=pager.size, state=state)
    return pager.page(rows, CaseLine.model_validate, lambda row: [row.id], "/v1/cases", state=state)


@router.get("/{case_id}", responses=NOT_MODIFIED)
async def get_case(
    session: Session,
    lookups: Lookups,
    caller: AnyoneOrAgent,
    case_id: str,
    request: Request,
    response: Response,
) -> CaseOut:
    """One case, whole, with its ETag."""
    case = await rights.case_to_read(session, lookups, case_id, caller)
    if (unchanged := not_modified(request, case.version)) is not None:
        return unchanged  # type: ignore[return-value]
    response.headers["etag"] = etag(case.version)
    return await views.as_stored(lookups, request.app.state.runtime.vault, case)


@router.patch("/{case_id}")
async def save_case(
    session: Session,
    caller: ApplicantOrAgent,
    case_id: str,
    body: SaveIn,
    seen: IfMatch,
    request: Request,
    response: Response,
) -> CaseOut:
    """Save what was typed (autosave): only what is sent changes."""
    vault = request.app.state.runtime.vault
    case = await rights.own_case(session, case_id, caller)
    check_version(case.version, seen, required=True)
    cases.save(case, vault, **body.model_dump())
    response.headers["etag"] = etag(case.version)
    return await views.whole(session, vault, case)


@router.put("/{case_id}/materials/{slot_id}", responses=UNFIT)
async def upload_material(
    session: Session, caller: ApplicantOrAgent, case_id: str, slot_id: str, request: Request
) -> SlotOut:
    """Upload a material: the body is the file itself (PDF, PNG or JPEG)."""
    case = await rights.own_case(session, case_id, caller)
    slot = await materials.upload(
        session, request.app.state.runtime.vault, case, slot_id, await request.body(), caller
    )
    return SlotOut.model_validate(slot)


@router.get("/{case_id}/materials/{slot_id}/content", response_class=Response)
async def download_material(
    session: Session, caller: AnyoneOrAgent, case_id: str, slot_id: str, request: Request
) -> Response:
    """The file in a slot, for the applicant and the departments that work on the case."""
    case = await rights.case_for(session, case_id, caller)
    file, content = await materials.content(session, request.app.state.runtime.vault, case, slot_id)
    read = CaseDataRead(
        account_id=case.applicant_id, kind="material", object_id=slot_id, **reads.reader(caller)
    )
    await reads.tell(session, caller, read)
    headers = {
        "content-disposition": "attachment",
        "x-content-type-options": "nosniff",
        "etag": f'"{file.digest}"',
        "cache-control": "private, no-store",
    }
    return Response(content, media_type=file.media_type, headers=headers)


@router.post("/{case_id}/submit")
async def submit_case(
    session: Session,
    caller: ApplicantOrAgent,
    case_id: str,
    seen: IfMatch,
    request: Request,
    response: Response,
) -> CaseOut:
    """Hand the draft in; everything that is missing is told at once."""
    runtime = request.app.state.runtime
    case = await rights.own_case(session, case_id, caller)
    check_version(case.version, seen)
    await cases.submit(session, runtime.calls, runtime.vault, case, caller)
    response.headers["etag"] = etag(case.version)
    return await views.whole(session, runtime.vault, case)


@router.post("/{case_id}/correct")
async def answer_correction(
    session: Session, caller: ApplicantOrAgent, case_id: str, request: Request, response: Response
) -> CaseOut:
    """Say that what was asked for is mended; the clock runs again."""
    case = await rights.own_case(session, case_id, caller)
    await reviews.correct(session, case, caller)
    response.headers["etag"] = etag(case.version)
    return await views.whole(session, request.app.state.runtime.vault, case)


@router.post("/{case_id}/withdraw")
async def withdraw_case(
    session: Session, caller: ApplicantOrAgent, case_id: str, request: Request, response: Response
) -> CaseOut:
    """Take the case back; what was paid is refunded."""
    case = await rights.own_case(session, case_id, caller)
    await cases.withdraw(session, case, caller)
    response.headers["etag"] = etag(case.version)
    return await views.whole(session, request.app.state.runtime.vault, case)


@router.get("/{case_id}/timeline")
async def get_timeline(session: Session, caller: AnyoneOrAgent, case_id: str) -> TimelineOut:
    """Everything that happened, as a hash chain, and whether the chain is intact."""
    case = await rights.case_for(session, case_id, caller)
    entries = await timeline.entries(session, case.id)
    return TimelineOut.model_validate(
        {
            "entries": entries,
            "head": case.timeline_head,
            "intact": timeline.broken_at(entries, case.timeline_head) is None,
        }
    )


@router.get("/{case_id}/clock")
async def get_clock(session: Session, caller: AnyoneOrAgent, case_id: str) -> ClockOut:
    """The lawful clock: due dates, days used, pauses, and why each day counts or not."""
    case = await rights.case_for(session, case_id, caller)
    return ClockOut.model_validate(await clocks.shown(session, case))
