"""Correcting facts of the profile over HTTP: for the person, and for the department."""

from typing import Literal

from fastapi import Response

from kit import routing
from kit.auth import Applicant, Reviewer
from kit.pages import Cursor, Limit, Page, Pager
from kit.routing import IfMatch, Session, check_version, etag

from .. import corrections
from ..models_corrections import FactCorrection
from ..schemas_corrections import (
    CorrectionAccepted,
    CorrectionAsked,
    CorrectionLine,
    CorrectionOut,
    CorrectionRefused,
)
from .web import At

router = routing.router(prefix="/v1/me/profile/corrections", tags=["my data"])
desk = routing.router(prefix="/v1/fact-corrections", tags=["my data"])


async def _shown(
    at: At, session: Session, row: FactCorrection, response: Response
) -> CorrectionOut:
    response.headers["etag"] = etag(row.version)
    return CorrectionOut.model_validate(await corrections.detail(session, at.runtime.vault, row))


@router.post("", status_code=201)
async def ask_fact_correction(
    at: At, session: Session, body: CorrectionAsked, caller: Applicant, response: Response
) -> CorrectionOut:
    """Ask the department that a fact comes from to correct it; it answers within 15 working
    days."""
    row = await corrections.ask(
        session,
        at.runtime.vault,
        caller.subject,
        fact_id=body.fact_id,
        wanted=body.wanted,
        reason=body.reason,
    )
    return await _shown(at, session, row, response)


@router.get("")
async def my_fact_corrections(
    at: At, session: Session, caller: Applicant, limit: Limit = 20, cursor: Cursor = None
) -> Page[CorrectionOut]:
    """What I asked to have corrected, the latest first, with the answers."""
    filters = {"list": "corrections", "subject": caller.subject}
    pager = Pager(at.request, limit, cursor, filters)
    rows = await corrections.of_account(
        session, caller.subject, before=pager.after, limit=pager.size
    )
    return Page[CorrectionOut](
        items=[
            CorrectionOut.model_validate(await corrections.detail(session, at.runtime.vault, row))
            for row in rows[: pager.size]
        ],
        next=pager.following(rows, lambda row: [row.id], router.prefix),
    )


@router.post("/{correction_id}/withdraw")
async def withdraw_fact_correction(
    at: At, session: Session, caller: Applicant, correction_id: str, response: Response
) -> CorrectionOut:
    """Take back what I asked for, before it is decided."""
    row = await corrections.withdraw(session, caller.subject, correction_id)
    return await _shown(at, session, row, response)


@desk.get("")
async def list_fact_corrections(
    at: At,
    session: Session,
    caller: Reviewer,
    state: Literal["requested", "accepted", "refused", "withdrawn"] = "requested",
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[CorrectionLine]:
    """Corrections that my department decides, the oldest first, without anything personal."""
    filters = {"list": "desk", "dept": caller.dept, "state": state}
    pager = Pager(at.request, limit, cursor, filters)
    rows = await corrections.desk(session, caller, state=state, after=pager.after, limit=pager.size)
    return pager.page(
        rows,
        lambda row: CorrectionLine.model_validate(corrections.line(row)),
        lambda row: [row.id],
        desk.prefix,
        state=state,
    )


@desk.get("/{correction_id}")
async def get_fact_correction(
    at: At, session: Session, caller: Reviewer, correction_id: str, response: Response
) -> CorrectionOut:
    """One of them, with what the fact says and should say; the person sees the read."""
    row = await corrections.one(session, caller, correction_id)
    return await _shown(at, session, row, response)


@desk.post("/{correction_id}/accept")
async def accept_fact_correction(
    at: At,
    session: Session,
    caller: Reviewer,
    correction_id: str,
    body: CorrectionAccepted,
    seen: IfMatch,
    response: Response,
) -> CorrectionOut:
    """The fact is wrong: it says something else from now on."""
    row = await corrections.accept(
        session, at.runtime.vault, caller, correction_id, value=body.value, answer=body.answer
    )
    check_version(row.version - 1, seen)
    return await _shown(at, session, row, response)


@desk.post("/{correction_id}/refuse")
async def refuse_fact_correction(
    at: At,
    session: Session,
    caller: Reviewer,
    correction_id: str,
    body: CorrectionRefused,
    seen: IfMatch,
    response: Response,
) -> CorrectionOut:
    """The fact is right, or is changed by applying for an item."""
    row = await corrections.refuse(
        session,
        at.runtime.vault,
        caller,
        correction_id,
        answer=body.answer,
        item_code=body.item_code,
    )
    check_version(row.version - 1, seen)
    return await _shown(at, session, row, response)
