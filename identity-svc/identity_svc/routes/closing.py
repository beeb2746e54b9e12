"""Closing one's account over HTTP."""

from kit import routing
from kit.auth import Applicant
from kit.routing import Session

from .. import closings, firms
from ..schemas_closing import ClosingOut
from ..sign_in import ways
from .web import At

router = routing.router(prefix="/v1/me/closing", tags=["my data"])


@router.post("", status_code=201)
async def ask_closing(at: At, session: Session, caller: Applicant) -> ClosingOut:
    """Close this account in seven days, after a fresh sign-in; until then it can be undone.
    Refused while cases, payments or parcels are open."""
    await ways.fresh(session, caller, for_firm=True)
    await closings.may_close(session, caller)
    elsewhere = await closings.open_elsewhere(at.runtime.calls, caller.subject)
    person = firms.person_behind(caller)
    row = await closings.ask(session, caller.subject, asked_by=person, elsewhere=elsewhere)
    return ClosingOut.model_validate(row)


@router.get("")
async def read_closing(session: Session, caller: Applicant) -> ClosingOut:
    """Where the closing of this account stands, and what a refusal was for."""
    return ClosingOut.model_validate(await closings.latest(session, caller.subject))


@router.delete("", status_code=204)
async def withdraw_closing(session: Session, caller: Applicant) -> None:
    """Keep the account after all."""
    await closings.may_close(session, caller)
    await closings.withdraw(session, caller.subject)
