"""What payment-svc holds of an account, and what must end before the account does. Nothing is
erased: the books are kept by law (会计法 art. 23) and name nobody but by the account's id."""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.holdings import MOST_MATTERS, Asked, Open, Part, Record, picked

from .models import OPEN, PaymentOrder, Refund, RefundState

_COLUMNS = (
    "id", "case_id", "fee_code", "item_code", "item_name", "amount_fen", "paid_fen",
    "refunded_fen", "state", "region", "dept", "expires_at", "paid_at", "created_at",
)  # fmt: skip
_ON_ITS_WAY = (RefundState.CREATED, RefundState.SUBMITTED, RefundState.ERROR)


async def _payments(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    rows = await asked.rows(session, PaymentOrder, PaymentOrder.payer_id)
    return [picked(row, *_COLUMNS) for row in rows]


PARTS = (Part("payments", "缴款(金额单位为分)", "Payments (amounts in fen)", _payments),)


async def open_matters(session: AsyncSession, account_id: str) -> list[Open]:
    """Orders that wait to be paid, and those of which money is on its way back."""
    returning = select(Refund.id).where(
        Refund.order_id == PaymentOrder.id, Refund.state.in_(_ON_ITS_WAY)
    )
    query = (
        select(PaymentOrder.id)
        .where(
            PaymentOrder.payer_id == account_id,
            or_(PaymentOrder.state.in_(OPEN), returning.exists()),
        )
        .order_by(PaymentOrder.id.desc())
        .limit(MOST_MATTERS)
    )
    return [("payment", order_id) for order_id in await session.scalars(query)]
