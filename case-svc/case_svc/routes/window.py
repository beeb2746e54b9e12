"""What the counter and the deciding authority do with a case."""

from fastapi import Request, Response

from kit.auth import Counter, Reviewer
from kit.routing import IfMatch, Session, check_version, etag
from kit.routing import router as new_router

from .. import decisions, reviews, rights, views
from ..schemas import CaseOut, DecisionIn, RefuseIn

router = new_router(prefix="/v1/cases", tags=["window"])


@router.post("/{case_id}/accept")
async def accept_case(
    session: Session,
    caller: Counter,
    case_id: str,
    seen: IfMatch,
    request: Request,
    response: Response,
) -> CaseOut:
    """Accept the case: the clock starts and the departments get their tasks."""
    case = await rights.lead_case(session, case_id, caller)
    check_version(case.version, seen)
    await reviews.accept(session, case, caller)
    response.headers["etag"] = etag(case.version)
    return await views.whole(session, request.app.state.runtime.vault, case)


@router.post("/{case_id}/refuse")
async def refuse_case(
    session: Session,
    caller: Counter,
    case_id: str,
    body: RefuseIn,
    seen: IfMatch,
    request: Request,
    response: Response,
) -> CaseOut:
    """Do not accept the case; the applicant is told why."""
    case = await rights.lead_case(session, case_id, caller)
    check_version(case.version, seen)
    reviews.refuse(session, case, caller, **body.model_dump())
    response.headers["etag"] = etag(case.version)
    return await views.whole(session, request.app.state.runtime.vault, case)


@router.post("/{case_id}/decide")
async def decide_case(
    session: Session,
    caller: Reviewer,
    case_id: str,
    body: DecisionIn,
    seen: IfMatch,
    request: Request,
    response: Response,
) -> CaseOut:
    """The lead department's decision; a rejection needs its reason."""
    case = await rights.lead_case(session, case_id, caller)
    check_version(case.version, seen)
    decisions.decide(session, case, caller, **body.model_dump())
    response.headers["etag"] = etag(case.version)
    return await views.whole(session, request.app.state.runtime.vault, case)


@router.post("/{case_id}/hand-over")
async def hand_over_licence(
    session: Session, caller: Counter, case_id: str, request: Request, response: Response
) -> CaseOut:
    """The applicant collected the licence at the counter."""
    case = await rights.lead_case(session, case_id, caller)
    decisions.handed_over(session, case, caller)
    response.headers["etag"] = etag(case.version)
    return await views.whole(session, request.app.state.runtime.vault, case)
