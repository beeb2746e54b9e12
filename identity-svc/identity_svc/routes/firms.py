"""Firms over HTTP: registering one, appointing who acts for it, and for whom one may act."""

from fastapi import APIRouter

from kit import routing
from kit.auth import AnyoneOrAgent, Applicant, Person
from kit.clock import now
from kit.pages import Cursor, Limit, Page, Pager
from kit.routing import Session

from .. import attempts, firms, principals
from ..models_agency import Appointment
from ..schemas_agency import Appointing, AppointmentView, FirmClaim, FirmView, Principals
from .web import At, Web

claims = APIRouter(tags=["firms"])
"""Where the register is asked between two transactions."""
router = routing.router(prefix="/v1/firms", tags=["firms"])
own_router = routing.router(tags=["accounts"])
CLAIMS_AN_HOUR = 20


@claims.post("/v1/firm-claims")
async def claim_firm(at: At, body: FirmClaim, caller: Person) -> FirmView:
    """Register a firm, or take it over, as its legal representative; level L2. The same answer
    however often it is asked."""
    person_id = firms.person_behind(caller)
    async with at.runtime.sessions.begin() as counting:
        counted = at.runtime.vault.index(f"claims|{person_id}")
        await attempts.take(counting, counted, limit=CLAIMS_AN_HOUR, now=now(), minutes=60)
    firm_id, name = await firms.claim(
        at.runtime.sessions,
        at.runtime.vault,
        at.outside.firms,
        person_id=person_id,
        uscc=body.uscc,
        name=body.name,
    )
    return FirmView(id=firm_id, name=name)


@router.post("/{firm_id}/agents", status_code=201)
async def appoint_agent(
    at: At, session: Session, firm_id: str, body: Appointing, caller: Applicant
) -> AppointmentView:
    """Ask a person to act for the firm; the answer does not tell whether he has an account."""
    row = await firms.appoint(
        session, at.runtime.vault, caller, firm_id=firm_id, **body.model_dump()
    )
    return _view(at, row)


@router.get("/{firm_id}/agents")
async def list_agents(
    at: At,
    session: Session,
    firm_id: str,
    caller: Applicant,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[AppointmentView]:
    """Who acts or acted for the firm, the latest first; for those who manage it."""
    await firms.managed(session, firm_id, caller)
    pager = Pager(at.request, limit, cursor, {"list": "agents", "firm": firm_id})
    rows = await firms.appointments(session, firm_id, after=pager.after, limit=pager.size)
    path = f"/v1/firms/{firm_id}/agents"
    return pager.page(rows, lambda row: _view(at, row), lambda row: [row.id], path)


@own_router.post("/v1/appointments/{appointment_id}/confirm")
async def confirm_appointment(
    at: At, session: Session, appointment_id: str, caller: Person
) -> AppointmentView:
    """The person who was asked agrees to act for the firm."""
    return _view(
        at, await firms.answer(session, at.runtime.vault, caller, appointment_id, "confirm")
    )


@own_router.post("/v1/appointments/{appointment_id}/refuse")
async def refuse_appointment(
    at: At, session: Session, appointment_id: str, caller: Person
) -> AppointmentView:
    """The person who was asked does not want to."""
    return _view(
        at, await firms.answer(session, at.runtime.vault, caller, appointment_id, "refuse")
    )


@own_router.post("/v1/appointments/{appointment_id}/remove")
async def remove_appointment(
    at: At, session: Session, appointment_id: str, caller: Applicant
) -> AppointmentView:
    """The firm takes an appointment back, or the agent lays it down; tokens end at once."""
    return _view(at, await firms.remove(session, caller, appointment_id))


@own_router.get("/v1/me/principals")
async def my_principals(at: At, session: Session, caller: AnyoneOrAgent) -> Principals:
    """For whom the person who signed in may act, and what waits for his answer."""
    return Principals.model_validate(await principals.of(session, at.runtime.vault, caller))


def _view(at: Web, row: Appointment) -> AppointmentView:
    return AppointmentView(
        person=firms.label(at.runtime.vault, row),
        **{name: getattr(row, name) for name in AppointmentView.model_fields if name != "person"},
    )
