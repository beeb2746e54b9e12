"""What payment-svc listens to."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.case import CaseDecided, CaseFeeDue, CaseWithdrawn
from kit.inbox import Meta, Subscribers

from . import orders

on = Subscribers()


@on(CaseFeeDue)
async def create_order(session: AsyncSession, fee: CaseFeeDue, meta: Meta) -> None:
    """A fee is due: it can be paid from now on."""
    await orders.create(
        session,
        case_id=fee.case_id,
        fee_code=fee.fee_code,
        item_code=fee.item_code,
        item_name=fee.item_name,
        payer_id=fee.applicant_id,
        amount_fen=fee.amount_fen,
        region=meta.region,
        dept=meta.dept,
        case_version=meta.version,
        life=session.info["order_life"],
    )


@on(CaseWithdrawn)
async def end_withdrawn(session: AsyncSession, case: CaseWithdrawn, meta: Meta) -> None:
    """The applicant took the case back: cancel or refund."""
    await orders.end_case(session, case.case_id, reason="withdrawn", case_version=meta.version)


@on(CaseDecided)
async def end_rejected(session: AsyncSession, case: CaseDecided, meta: Meta) -> None:
    """A rejected case owes no fee: cancel or refund. An approved one changes nothing."""
    if case.outcome == "rejected":
        await orders.end_case(session, case.case_id, reason="rejected", case_version=meta.version)
