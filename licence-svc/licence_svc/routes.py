"""The REST side of licence-svc."""

from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from pydantic import Field

from kit.auth import Applicant, Operator, Public, Reviewer
from kit.lookups import Lookups
from kit.pages import Cursor, Limit, Page, Pager, clamp
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
from kit.runtime import Runtime
from kit.samples import shown

from . import faces, licences, orders, presentations, schemas, status_lists, types

router = new_router(prefix="/v1", tags=["licences"])
Disclose = Annotated[
    list[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$", max_length=60)]] | None,
    Query(max_length=50, description="names of the fields to disclose; without it all of them"),
]


def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


@router.get("/licence-types")
async def list_licence_types(_: Public, session: Session) -> Page[schemas.LicenceTypeOut]:
    """All kinds of licences."""
    rows = await types.every(session)
    return Page(items=[schemas.LicenceTypeOut.model_validate(row) for row in rows])


@router.get(
    "/licences/jwks.json",
    responses=shown(
        {
            "keys": [
                {
                    "kty": "EC",
                    "crv": "P-256",
                    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
                    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
                    "kid": "2026-09",
                }
            ]
        }
    ),
)
async def get_licence_keys(_: Public, request: Request, response: Response) -> dict[str, Any]:
    """The public keys that verify licences, presentations and status lists (JWKS)."""
    response.headers["cache-control"] = "public, max-age=300"
    jwks: dict[str, Any] = _runtime(request).parts["signer"].jwks
    return jwks


@router.get(
    "/status-lists/{n}",
    response_class=Response,
    responses={200: {"content": {"application/statuslist+jwt": {"schema": {"type": "string"}}}}},
)
async def get_status_list(
    _: Public, request: Request, session: Session, n: Annotated[int, Path(ge=0, le=1_000_000)]
) -> Response:
    """A signed token status list: which licences are suspended or no longer good."""
    token = await status_lists.build(session, _runtime(request).parts["signer"], n)
    headers = {"cache-control": f"public, max-age={status_lists.TTL_SECONDS}"}
    return Response(token, headers=headers, media_type="application/statuslist+jwt")


@router.get("/me/licences")
async def list_my_licences(
    caller: Applicant,
    request: Request,
    session: Session,
    licence_type: Annotated[str | None, Query(max_length=32)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[schemas.LicenceOut]:
    """My licences, newest first, names and numbers masked."""
    runtime = _runtime(request)
    filters = {"holder": caller.subject, "licence_type": licence_type}
    pager = Pager(request, limit, cursor, filters)
    rows = await licences.list_of_holder(
        session,
        caller.subject,
        licence_type=licence_type,
        before=pager.after,
        limit=pager.size + 1,
    )
    return pager.page(
        rows,
        lambda row: schemas.LicenceOut.of(faces.face(runtime.vault, row)),
        lambda row: [row.ordinal],
    )


@router.get("/me/licences/in-force")
async def list_my_licences_in_force(
    caller: Applicant, request: Request, session: Session
) -> Page[schemas.LicenceOut]:
    """What I hold today: of each type the newest licence that is in force."""
    vault = _runtime(request).vault
    rows = await licences.list_in_force(session, caller.subject)
    return Page(items=[schemas.LicenceOut.of(faces.face(vault, row)) for row in rows])


@router.get("/licences/{licence_id}", response_model=schemas.LicenceDetail, responses=NOT_MODIFIED)
async def get_licence(
    caller: Applicant, request: Request, response: Response, lookups: Lookups, licence_id: str
) -> Any:
    """One of my licences with all that it says."""
    row = await licences.of_holder(lookups, caller.subject, licence_id)
    unchanged = not_modified(request, row.version)
    if unchanged is not None:
        return unchanged
    response.headers["etag"] = etag(row.version)
    vault = _runtime(request).vault
    return schemas.LicenceDetail.of_row(vault, faces.face(vault, row))


@router.get("/licences/{licence_id}/credential")
async def get_licence_credential(
    caller: Applicant,
    request: Request,
    response: Response,
    lookups: Lookups,
    licence_id: str,
    disclose: Disclose = None,
) -> schemas.CredentialOut:
    """My licence as SD-JWT VC, to be kept in a wallet or shown to a verifier that is offline."""
    row = await licences.of_holder(lookups, caller.subject, licence_id)
    response.headers["cache-control"] = "no-store"
    credential = faces.credential(_runtime(request).vault, row, disclose)
    return schemas.CredentialOut(credential=credential)


@router.post("/licences/{licence_id}/present", status_code=201)
async def present_licence(
    caller: Applicant,
    request: Request,
    session: Creating,
    lookups: Lookups,
    licence_id: str,
    body: schemas.PresentIn,
) -> schemas.PresentationOut:
    """Show my licence: a QR code that lives a minute and is good for one verification."""
    runtime = _runtime(request)
    shown = await presentations.make(
        session,
        lookups,
        runtime.vault,
        runtime.parts["signer"],
        holder_id=caller.subject,
        licence_id=licence_id,
        purpose=body.purpose,
        seconds=runtime.settings.presentation_seconds,  # type: ignore[attr-defined]
    )
    return schemas.PresentationOut.of(shown)


@router.post("/verify")
async def verify_presentation(
    _: Public, request: Request, session: Session, body: schemas.VerifyIn
) -> schemas.VerdictOut:
    """Check a licence that is shown to me: accepted once, or refused with the reason."""
    runtime = _runtime(request)
    verdict = await presentations.verify(
        session, runtime.vault, runtime.parts["signer"], body.token
    )
    return schemas.VerdictOut.of(verdict)


@router.post("/licences/{licence_id}/status")
async def change_licence_status(
    caller: Reviewer,
    response: Response,
    session: Session,
    seen: IfMatch,
    licence_id: str,
    body: schemas.ChangeIn,
) -> schemas.StatusOut:
    """Suspend, resume or revoke a licence that my department issued."""
    row = await licences.of_issuer(session, caller, licence_id)
    check_version(row.version, seen)
    licences.change(session, row, body.action, reason_code=body.reason_code, actor=caller.subject)
    response.headers["etag"] = etag(row.version)
    return schemas.StatusOut.model_validate(row)


@router.get("/licence-orders")
async def list_licence_orders(
    _: Operator, session: Session, limit: Limit = 50
) -> Page[schemas.OrderOut]:
    """Licences that are still to be made, the oldest first, with their last trouble."""
    rows = await orders.list_open(session, limit=clamp(limit))
    return Page(items=[schemas.OrderOut.model_validate(row) for row in rows])


@router.post("/licence-orders/{order_id}/retry")
async def retry_licence_order(_: Operator, session: Session, order_id: str) -> schemas.OrderOut:
    """Try at once to make a licence that waits."""
    return schemas.OrderOut.model_validate(await orders.retry(session, order_id))
