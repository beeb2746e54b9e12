"""From fee to closed: the decision, and what other services' events mean for a case.

Every function tolerates a repeated or late event: when the case has moved on it does nothing.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.case import Outcome
from kit import crash
from kit.auth import Caller
from kit.errors import Conflict, Invalid

from . import clocks
from .models import Case
from .timeline import By, note, step


async def _locked(session: AsyncSession, case_id: str | None) -> Case | None:
    if case_id is None:
        return None
    return await session.get(Case, case_id, with_for_update=True)


def _close(session: AsyncSession, case: Case, by: By) -> None:
    step(
        session,
        case,
        "close",
        by,
        case_id=case.id,
        applicant_id=case.applicant_id,
        item_code=case.item_code,
        item_name=case.item_name,
        channel=case.channel,
        outcome=case.outcome,
    )


def decide(
    session: AsyncSession,
    case: Case,
    caller: Caller,
    *,
    outcome: Outcome,
    reason_code: str | None,
    reason: str | None,
) -> None:
    """The authority's decision on the (locked) case. A rejection needs its reason (行政许可法
    art. 38); what was paid is then refunded by payment-svc."""
    if outcome == "rejected" and not (reason_code and reason):
        raise Invalid(
            "不予许可需要说明理由,并告知复议和诉讼的权利。",
            "A rejection needs a reason.",
            errors=[
                {
                    "pointer": "/reason",
                    "code": "missing",
                    "message": "请填写理由。",
                    "message_en": "Give the reason.",
                }
            ],
        )
    case.outcome, case.reason_code, case.reason = outcome, reason_code, reason
    if not crash.planted("clock_not_stopped"):
        case.decided_on = clocks.today_or(case.accepted_on)
    approved = outcome == "approved"
    step(
        session,
        case,
        "approve" if approved else "reject",
        By.caller(caller),
        text=reason,
        case_id=case.id,
        applicant_id=case.applicant_id,
        item_code=case.item_code,
        outcome=outcome,
        reason_code=reason_code,
        licence_type=case.item.get("licence_type") if approved else None,
        licence_years=case.item.get("licence_years") if approved else None,
        delivery=case.delivery if approved else "none",
        address_id=case.address_id if approved else None,
    )
    if not approved or not case.item.get("licence_type"):
        _close(session, case, By.caller(caller))


async def paid(session: AsyncSession, *, case_id: str, payment_id: str) -> None:
    case = await _locked(session, case_id)
    if case is None or case.state != "fee_due":
        return
    case.payment_id = payment_id
    step(session, case, "paid", By("svc-payment"))


async def fee_lapsed(session: AsyncSession, *, case_id: str) -> None:
    """Nobody paid in time: the application counts as withdrawn."""
    case = await _locked(session, case_id)
    if case is None or case.state != "fee_due":
        return
    case.outcome, case.reason_code = "withdrawn", "fee_not_paid"
    step(
        session,
        case,
        "fee_lapsed",
        By("svc-payment"),
        case_id=case.id,
        applicant_id=case.applicant_id,
    )


async def licence_issued(session: AsyncSession, *, case_id: str | None, licence_id: str) -> None:
    case = await _locked(session, case_id)
    if case is None or case.state != "issuing":
        return
    case.licence_id = licence_id
    if case.delivery == "none":
        _close(session, case, By("svc-licence"))
    else:
        step(session, case, "issued", By("svc-licence"))


async def delivered(session: AsyncSession, *, case_id: str) -> None:
    case = await _locked(session, case_id)
    if case is None or case.state != "delivering":
        return
    _close(session, case, By("svc-logistics"))


async def shipment_trouble(session: AsyncSession, *, case_id: str, what: str) -> None:
    """The parcel came back or was lost: noted where staff and applicant see it."""
    case = await _locked(session, case_id)
    if case is not None and case.state == "delivering":
        note(session, case, what, By("svc-logistics"))


def handed_over(session: AsyncSession, case: Case, caller: Caller) -> None:
    """The applicant collected the licence at the counter (case locked)."""
    if case.delivery != "counter":
        raise Conflict("此办件选择了寄送,不在窗口领取。", "This case is delivered, not collected.")
    _close(session, case, By.caller(caller))
