"""Charges: money that arrived. The one place where a success is believed and booked."""

import logging

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kit import crash
from kit.ids import derived_id
from kit.states import move

from . import ledger, orders, refunds
from .channels import Paid, Trade
from .models import (
    ATTEMPT_TRANSITIONS,
    LIVE,
    OPEN,
    ORDER_TRANSITIONS,
    Attempt,
    AttemptState,
    Charge,
    OrderState,
    PaymentOrder,
)
from .refunds import Heard

log = logging.getLogger(__name__)


async def apply_success(
    session: AsyncSession, channel: str, trade: Trade, *, believed: bool
) -> Heard:
    """Book a payment that `channel` tells of (`trade.paid` is given), from a call-back, a query or
    a bill; told again it changes nothing.

    Money for an open order pays it. Money that comes too late or twice is booked to suspense and
    refunded. An amount other than ours is refused (MISMATCH) unless it is `believed`, that is the
    channel itself was asked; then it goes to suspense and back.
    """
    paid = trade.paid
    assert paid is not None
    found = await session.scalar(
        select(Attempt).filter_by(channel=channel, trade_no=trade.out_trade_no)
    )
    if found is None:
        log.error("a payment at %s is for none of our attempts", channel)
        return Heard.UNKNOWN
    order = await session.get_one(
        PaymentOrder, found.order_id, with_for_update=True, populate_existing=True
    )
    attempt = await session.get_one(Attempt, found.id, with_for_update=True, populate_existing=True)
    known = await session.scalar(
        select(Charge).filter_by(channel=channel, transaction_id=paid.transaction_id)
    )
    if known is not None:
        same = known.amount_fen == paid.amount_fen and known.attempt_id == attempt.id
        return Heard.REPEATED if same else Heard.MISMATCH
    fits = paid.amount_fen == attempt.amount_fen or crash.planted("no_amount_check")
    if not fits:
        log.error("attempt %s: %s tells another amount", attempt.id, channel)
        if not believed:
            return Heard.MISMATCH
    if fits and order.state in OPEN:
        await _pays(session, order, attempt, paid)
        return Heard.APPLIED
    await _goes_back(session, order, attempt, paid, fits)
    return Heard.SUSPENSE


async def _book(
    session: AsyncSession, order: PaymentOrder, attempt: Attempt, paid: Paid, account: str
) -> Charge:
    charge = Charge(
        id=derived_id("chg", attempt.channel, paid.transaction_id),
        order_id=order.id,
        attempt_id=attempt.id,
        channel=attempt.channel,
        transaction_id=paid.transaction_id,
        amount_fen=paid.amount_fen,
        account=account,
        returned_fen=0,
        paid_at=paid.paid_at,
    )
    session.add(charge)
    await session.flush()
    if crash.planted("no_booking"):
        return charge
    await ledger.transfer(
        session,
        reference=f"charge:{charge.id}",
        kind="charge",
        debit=ledger.clearing(attempt.channel),
        credit=account,
        amount_fen=paid.amount_fen - crash.planted("fen_lost"),
        effective_at=paid.paid_at,
    )
    return charge


async def _pays(session: AsyncSession, order: PaymentOrder, attempt: Attempt, paid: Paid) -> None:
    account = ledger.payable(order.dept, order.item_code)
    await _book(session, order, attempt, paid, account)
    move(session, attempt, ATTEMPT_TRANSITIONS, "pay")
    order.paid_fen, order.paid_at = paid.amount_fen, paid.paid_at
    move(
        session,
        order,
        ORDER_TRANSITIONS,
        "pay",
        payment_id=order.id,
        case_id=order.case_id,
        payer_id=order.payer_id,
        amount_fen=paid.amount_fen,
        channel=attempt.channel,
        paid_at=paid.paid_at,
    )
    await session.flush()
    # An older attempt was paid after a newer one was opened: nobody shall pay that one too.
    await orders.close_attempts(session, order.id)
    crash.point("n0")


async def _goes_back(
    session: AsyncSession, order: PaymentOrder, attempt: Attempt, paid: Paid, fits: bool
) -> None:
    charge = await _book(session, order, attempt, paid, ledger.SUSPENSE)
    if fits and attempt.state != AttemptState.PAID:
        move(session, attempt, ATTEMPT_TRANSITIONS, "pay")
    elif not fits and attempt.state in LIVE:
        attempt.error_code = "WRONG_AMOUNT"
        move(session, attempt, ATTEMPT_TRANSITIONS, "fail")
    ended = order.state in (OrderState.CANCELLED, OrderState.EXPIRED)
    reason = "wrong_amount" if not fits else "late" if ended else "twice"
    log.error("order %s: %s money goes back", order.id, reason)
    await refunds.start(session, charge.id, amount_fen=paid.amount_fen, reason=reason)
