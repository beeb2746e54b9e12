"""Repairs: for an open difference the channel is asked, and what it says goes the usual way into
the books: `charges.apply_success`, `refunds.apply`. What it cannot prove stays open for a person.

A repair and its mark are one transaction: killed in between, neither took place.
"""

import logging
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kit import crash
from kit.clock import now
from kit.runtime import Runtime

from . import channels, charges, differences, refunds
from .channels import Channel, Paid, Trade, TradeState
from .differences import Finding, Outcome
from .models import Charge, Refund, RefundState
from .models_reconciliation import (
    BillRow,
    Difference,
    DifferenceState,
    DifferenceType,
    Reconciliation,
)
from .outside import channel_of
from .settings import settings_of

log = logging.getLogger(__name__)
PAUSES = (60, 300, 900, 3600)
"""Seconds until a channel that did not answer is asked again."""
LATER = 6 * 3600
"""Seconds until it is asked again about what it denied."""
_PAYMENTS = (DifferenceType.LOCAL_NOT_PAID, DifferenceType.MISSING_REMOTE)


async def repair(runtime: Runtime, difference_id: str) -> None:
    """Ask the channel about an open difference and act on its answer."""
    async with runtime.sessions() as session:
        found = await session.get_one(Difference, difference_id)
        run = await session.get_one(Reconciliation, found.reconciliation_id)
    if found.state != DifferenceState.OPEN:
        return
    channel = channel_of(runtime, run.channel)
    try:
        if found.type in _PAYMENTS:
            assert found.trade_no is not None
            trade = await channel.query(found.trade_no)
        else:
            assert found.refund_id is not None
            told = await channel.query_refund(found.refund_id)
    except channels.ChannelError as error:
        log.warning("%s: %s from %s", found.id, type(error).__name__, channel.name)
        pause = PAUSES[min(found.tries, len(PAUSES) - 1)]
        async with runtime.sessions.begin() as session:
            if (open_ := await _open(session, difference_id)) is not None:
                differences.keep(open_, Finding.NO_ANSWER, again_at=_later(runtime, pause))
        return
    again_at = _later(runtime, LATER)
    async with runtime.sessions.begin() as session:
        match found.type:
            case DifferenceType.LOCAL_NOT_PAID:
                await _not_paid_here(session, channel, run, found, trade, again_at)
            case DifferenceType.MISSING_REMOTE:
                await _not_in_the_bill(session, found, trade)
            case DifferenceType.REFUND_LOCAL_NOT_DONE:
                await _not_refunded_here(session, found, told, again_at)
            case _:
                await _no_refund_in_the_bill(session, found, told)


async def _not_paid_here(
    session: AsyncSession,
    channel: Channel,
    run: Reconciliation,
    found: Difference,
    trade: Trade,
    again_at: datetime,
) -> None:
    """The bill has a payment, we have not: book what the channel says when it is asked."""
    if trade.state is TradeState.PAID:
        assert trade.paid is not None
        await charges.apply_success(session, channel.name, trade, believed=True)
        if trade.paid.transaction_id != found.transaction_id:
            # Paid more than once: a query tells of one payment, the bill of every one.
            line = await session.scalar(
                select(BillRow).filter_by(
                    channel=channel.name, day=run.day, kind="trade",
                    transaction_id=found.transaction_id,
                )
            )  # fmt: skip
            if line is not None:
                paid = Paid(line.transaction_id, line.amount_fen, line.at)
                trade = Trade(trade.out_trade_no, TradeState.PAID, paid)
                await charges.apply_success(session, channel.name, trade, believed=True)
    crash.point("b2")
    difference = await _open(session, found.id)
    if difference is None:
        return
    charge = await session.scalar(
        select(Charge).filter_by(channel=channel.name, transaction_id=found.transaction_id)
    )
    if charge is not None and charge.amount_fen == found.bill_fen:
        difference.charge_id = charge.id
        differences.repair(session, difference, Outcome.BOOKED)
    elif charge is not None:
        # The next comparison finds it as a mismatch of amounts.
        differences.keep(difference, Finding.OTHER_AMOUNT, again_at=None)
    else:
        log.error("%s: %s denies what its bill tells", found.id, channel.name)
        differences.keep(difference, Finding.CHANNEL_DENIES, again_at=again_at)


async def _not_in_the_bill(session: AsyncSession, found: Difference, trade: Trade) -> None:
    """We have a payment, no bill has: the channel may confirm it, yet only its bill ends it."""
    difference = await _open(session, found.id)
    if difference is None:
        return
    paid = trade.paid
    if paid is None:
        log.error("%s: the channel does not know of a payment in our books", found.id)
        finding = Finding.CHANNEL_DENIES
    elif paid.transaction_id != found.transaction_id:
        finding = Finding.OTHER_NUMBER
    elif paid.amount_fen != found.books_fen:
        finding = Finding.OTHER_AMOUNT
    else:
        finding = Finding.BILL_LACKS_IT
    differences.keep(difference, finding, again_at=None)


async def _not_refunded_here(
    session: AsyncSession, found: Difference, told: channels.Refund, again_at: datetime
) -> None:
    """By the bill a refund took place, by the books not: take over what the channel says."""
    if told.state is not channels.RefundState.ABSENT:
        await refunds.apply(session, told)
    crash.point("b2")
    difference = await _open(session, found.id)
    if difference is None:
        return
    refund = await session.get_one(Refund, found.refund_id)
    if refund.state == RefundState.SUCCEEDED:
        differences.repair(session, difference, Outcome.BOOKED)
        return
    succeeded = told.state is channels.RefundState.SUCCEEDED
    if not succeeded:
        log.error("%s: the channel denies a refund that its bill tells", found.id)
    finding = Finding.OTHER_AMOUNT if succeeded else Finding.CHANNEL_DENIES
    differences.keep(difference, finding, again_at=again_at)


async def _no_refund_in_the_bill(
    session: AsyncSession, found: Difference, told: channels.Refund
) -> None:
    """By the books a refund took place. A bill is never brought up to date: where it has the
    refund in another state, the channel's word of today ends it."""
    difference = await _open(session, found.id)
    if difference is None:
        return
    if told.state is not channels.RefundState.SUCCEEDED:
        log.error("%s: the channel does not know of a refund in our books", found.id)
        differences.keep(difference, Finding.CHANNEL_DENIES, again_at=None)
    elif told.amount_fen != found.books_fen:
        differences.keep(difference, Finding.OTHER_AMOUNT, again_at=None)
    elif found.bill_state is None:
        differences.keep(difference, Finding.BILL_LACKS_IT, again_at=None)
    else:
        differences.repair(session, difference, Outcome.CONFIRMED)


async def _open(session: AsyncSession, id_: str) -> Difference | None:
    """The difference, locked, unless somebody has ended it in the meantime."""
    found = await session.get_one(Difference, id_, with_for_update=True, populate_existing=True)
    return found if found.state == DifferenceState.OPEN else None


def _later(runtime: Runtime, seconds: float) -> datetime:
    return now() + timedelta(seconds=seconds * settings_of(runtime).payment_tempo)
