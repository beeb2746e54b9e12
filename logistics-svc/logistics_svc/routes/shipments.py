"""Where a parcel is."""

from typing import Annotated

from fastapi import Query, Request, Response

from kit.auth import Anyone
from kit.pages import Cursor, Limit, Page, Pager
from kit.routing import NOT_MODIFIED, Session, etag, not_modified
from kit.routing import router as new_router

from .. import shipments
from ..schemas import ShipmentLine, ShipmentOut, TrackOut

router = new_router(prefix="/v1/shipments", tags=["shipments"])


@router.get("")
async def list_shipments(
    session: Session,
    caller: Anyone,
    request: Request,
    case_id: Annotated[str | None, Query(pattern=r"^case_[0-9a-f]{32}$")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[ShipmentLine]:
    """The caller's shipments, or those of the caller's department and region."""
    filters = {"list": "shipments", "subject": caller.subject, "case_id": case_id}
    pager = Pager(request, limit, cursor, filters)
    rows = await shipments.listed(
        session, caller, case_id=case_id, after=pager.after, limit=pager.size
    )
    return pager.page(
        rows, ShipmentLine.model_validate, lambda row: [row.id], "/v1/shipments", case_id=case_id
    )


@router.get("/{shipment_id}", responses=NOT_MODIFIED)
async def get_shipment(
    session: Session, caller: Anyone, shipment_id: str, request: Request, response: Response
) -> ShipmentOut:
    """One shipment with its track."""
    shipment = await shipments.one(session, shipment_id, caller)
    if (unchanged := not_modified(request, shipment.version)) is not None:
        return unchanged  # type: ignore[return-value]
    response.headers["etag"] = etag(shipment.version)
    tracks = await shipments.tracks_of(session, shipment.id)
    line = ShipmentLine.model_validate(shipment).model_dump()
    return ShipmentOut(**line, tracks=[TrackOut.model_validate(track) for track in tracks])
