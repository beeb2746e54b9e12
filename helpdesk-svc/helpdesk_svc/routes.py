"""The REST side of helpdesk-svc."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response

from kit.auth import Applicant, Operator, Public, Staff
from kit.pages import Cursor, Limit, Page, Pager
from kit.routing import NOT_MODIFIED, IfMatch, Session, check_version, etag, not_modified
from kit.routing import router as new_router
from kit.runtime import Runtime

from . import policies, ratings, schemas

router = new_router(prefix="/v1", tags=["ratings"])
Region = Annotated[str, Path(pattern="^([0-9]{6}|_)$")]


def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


def _before(position: list[Any] | None) -> ratings.Position | None:
    return (datetime.fromisoformat(position[0]), position[1]) if position else None


def _mark(at: datetime | None, row_id: str) -> list[Any]:
    return [at.isoformat() if at else None, row_id]


@router.get("/ratings")
async def list_my_ratings(
    caller: Applicant,
    request: Request,
    session: Session,
    case_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[schemas.RatingOut]:
    """My ratings, given and asked for, newest first."""
    runtime = _runtime(request)
    pager = Pager(request, limit, cursor, {"account": caller.subject, "case_id": case_id})
    rows = await ratings.list_of_account(
        session,
        caller.subject,
        case_id=case_id,
        before=_before(pager.position),
        limit=pager.size + 1,
    )
    return pager.page(
        rows,
        lambda row: schemas.RatingOut.of(runtime.vault, row),
        lambda row: _mark(row.invited_at, row.id),
    )


@router.get("/ratings/criteria")
async def get_rating_criteria(_: Public) -> schemas.CriteriaOut:
    """Levels, reasons and indicators that a rating can name."""
    return schemas.CriteriaOut.present()


@router.get("/ratings/received")
async def list_received_ratings(
    caller: Staff,
    request: Request,
    session: Session,
    worst: Annotated[int | None, Query(ge=1, le=5, description="at most this score")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[schemas.ReceivedOut]:
    """What people said of my department, newest first, without who said it."""
    runtime = _runtime(request)
    filters = {"dept": caller.dept, "region": caller.region, "worst": worst}
    pager = Pager(request, limit, cursor, filters)
    rows = await ratings.list_received(
        session,
        caller,
        worst=worst,
        before=_before(pager.position),
        limit=pager.size + 1,
    )
    return pager.page(
        rows,
        lambda row: schemas.ReceivedOut.of(runtime.vault, row),
        lambda row: _mark(row.rated_at, row.id),
    )


@router.get("/ratings/policies")
async def list_rating_policies(_: Operator, session: Session) -> Page[schemas.PolicyOut]:
    """How long ratings can be given, where it differs from the default of 10 working days."""
    rows = await policies.every(session)
    return Page(items=[schemas.PolicyOut.model_validate(row) for row in rows])


@router.put("/ratings/policies/{region}")
async def put_rating_policy(
    caller: Operator, session: Session, region: Region, body: schemas.PolicyIn
) -> schemas.PolicyOut:
    """Set how many working days a district, or the city (`_`), gives for ratings."""
    row = await policies.set_rating_days(session, region, body.working_days, actor=caller.subject)
    return schemas.PolicyOut.model_validate(row)


@router.get("/ratings/{rating_id}", response_model=schemas.RatingOut, responses=NOT_MODIFIED)
async def get_rating(
    caller: Applicant, request: Request, response: Response, session: Session, rating_id: str
) -> Any:
    """One of my ratings."""
    row = await ratings.of_account(session, caller.subject, rating_id)
    unchanged = not_modified(request, row.version)
    if unchanged is not None:
        return unchanged
    response.headers["etag"] = etag(row.version)
    return schemas.RatingOut.of(_runtime(request).vault, row)


@router.post("/ratings/{rating_id}/submit")
async def submit_rating(
    caller: Applicant,
    request: Request,
    response: Response,
    session: Session,
    seen: IfMatch,
    rating_id: str,
    body: schemas.SubmitIn,
) -> schemas.RatingOut:
    """Rate a handling, once."""
    vault = _runtime(request).vault
    row = await ratings.of_account(session, caller.subject, rating_id, lock=True)
    check_version(row.version, seen)
    ratings.submit(session, vault, row, body.opinion())
    response.headers["etag"] = etag(row.version)
    return schemas.RatingOut.of(vault, row)
