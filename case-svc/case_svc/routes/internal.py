"""What other services may ask; the gateway never leads here."""

from fastapi import Request

from kit.auth import ServiceCaller
from kit.routing import Session
from kit.routing import router as new_router

from .. import forms, rights
from ..models import Case
from ..schemas import LicenceData

router = new_router(prefix="/internal/v1/cases", tags=["internal"])


@router.get("/{case_id}/licence-data")
async def licence_data(
    session: Session, caller: ServiceCaller, case_id: str, request: Request
) -> LicenceData:
    """The form's values of a case that was approved, for the licence to be issued."""
    case = await session.get(Case, case_id)
    if case is None or case.outcome != "approved":
        raise rights.no_case()
    fields = forms.opened(request.app.state.runtime.vault, case)
    return LicenceData(fields=fields, item_code=case.item_code, applicant_id=case.applicant_id)
