"""Refunds: money on its way back. Promised under lock, asked for outside any transaction, booked
once, in one place, whoever brings the news."""

import logging
import random
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.payment import PaymentRefunded
from kit import crash
from kit.clock import now
from kit.errors import Conflict
from kit.ids import derived_id, new_id
from kit.jobs import wake
from kit.outbox import emit
from kit.runtime import Runtime
from kit.states import move

from . import channels, ledger
from .models import (
    ORDER_TRANSITIONS,
    REFUND_TRANSITIONS,
    Attempt,
    Charge,
    LedgerTxn,
    PaymentOrder,
    Refund,
    RefundState,
)
from .outside import channel_of
from .settings import settings_of

log = logging.getLogger(__name__)
PAUSES = (5, 15, 60, 300, 900, 3600)
"""Seconds between two tries; the last one goes on for ever, since the money is owed."""
CLAIM_SECONDS = 5
"""After so long a try that came to no end is taken up again: we were killed, or our own database
had trouble. It does not count: only the channel's answers, or its silence, make pauses longer."""
NEW_NUMBERS = 3
"""How often a refund that the channel closed is asked for again under a new number."""


class Heard(StrEnum):
    """What became of news from a channel."""

    APPLIED = "applied"
    REPEATED = "repeated"
    IGNORED = "ignored"
    SUSPENSE = "suspense"
    UNKNOWN = "unknown"
    MISMATCH = "mismatch"


class RefundTooLarge(Conflict):
    status, code, title = 409, "refund_too_large", ("退款超过实缴金额", "More than was paid")


async def start(session: AsyncSession, charge_id: str, *, amount_fen: int, reason: str) -> Refund:
    """Promise `amount_fen` > 0 of a charge to its payer; a job asks the channel for it right
    after the commit. The caller holds the lock of the order. Raises RefundTooLarge (409)."""
    charge = await session.get_one(Charge, charge_id, with_for_update=True, populate_existing=True)
    if charge.returned_fen + amount_fen > charge.amount_fen and not crash.planted(
        "no_refund_limit"
    ):
        raise RefundTooLarge(
            "退款总额不能超过实缴金额。", "Refunds cannot exceed the amount that was paid."
        )
    count = await session.scalar(select(func.count()).where(Refund.charge_id == charge.id))
    n = (count or 0) + 1
    charge.returned_fen += amount_fen
    refund = Refund(
        id=derived_id("ref", charge.id, str(n)),
        order_id=charge.order_id,
        charge_id=charge.id,
        n=n,
        amount_fen=amount_fen,
        reason=reason,
        state=RefundState.CREATED,
        version=1,
        tries=0,
        next_try_at=now(),
    )
    session.add(refund)
    await session.flush()
    wake(session, "work_refunds")
    return refund


async def start_rest(session: AsyncSession, order: PaymentOrder, reason: str) -> None:
    """Give back everything of a paid order (locked) that is not yet promised."""
    charges = select(Charge).where(
        Charge.order_id == order.id, Charge.returned_fen < Charge.amount_fen
    )
    for charge in (await session.scalars(charges)).all():
        rest = charge.amount_fen - charge.returned_fen
        await start(session, charge.id, amount_fen=rest, reason=reason)


async def claim_due(runtime: Runtime, *, limit: int = 10) -> Sequence[str]:
    """Take refunds that are due for a try; others see them again only after CLAIM_SECONDS."""
    tempo = settings_of(runtime).payment_tempo
    async with runtime.sessions.begin() as session:
        due = (
            select(Refund)
            .where(
                Refund.state.in_((RefundState.CREATED, RefundState.SUBMITTED)),
                Refund.next_try_at <= func.now(),
            )
            .order_by(Refund.next_try_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        refunds = (await session.scalars(due)).all()
        for refund in refunds:
            refund.next_try_at = now() + timedelta(seconds=CLAIM_SECONDS * tempo)
        return [refund.id for refund in refunds]


async def submit(runtime: Runtime, refund_id: str) -> None:
    """Ask the channel for the refund, or how it stands, and apply the answer. Without an answer
    nothing is assumed; the next try asks again under the same number."""
    async with runtime.sessions() as session:
        refund = await session.get_one(Refund, refund_id)
        charge = await session.get_one(Charge, refund.charge_id)
        attempt = await session.get_one(Attempt, charge.attempt_id)
    if refund.state not in (RefundState.CREATED, RefundState.SUBMITTED):
        return
    channel = channel_of(runtime, charge.channel)
    crash.point("f1")
    try:
        told = None
        if refund.state == RefundState.SUBMITTED:
            told = await channel.query_refund(refund.id)
        if crash.planted("refund_believed_unasked"):
            told = channels.Refund(
                refund.id, attempt.trade_no, channels.RefundState.SUCCEEDED, "", refund.amount_fen
            )
        if told is None or told.state is channels.RefundState.ABSENT:
            told = await channel.refund(
                out_trade_no=attempt.trade_no,
                out_refund_no=new_id("ref")
                if crash.planted("new_refund_no_per_try")
                else refund.id,
                amount_fen=refund.amount_fen,
                total_fen=charge.amount_fen,
                reason=_REASONS.get(refund.reason, "退款"),
                transaction_id=charge.transaction_id,
            )
    except channels.Refused as refused:
        # A refund is owed: it is tried again; the code shows a person why it does not move.
        log.error("refund %s refused by %s: %s", refund.id, channel.name, refused.code)
        await _note(runtime, refund.id, refused.code)
        return
    except channels.ChannelError as error:
        log.warning("refund %s: %s from %s", refund.id, type(error).__name__, channel.name)
        await _note(runtime, refund.id, "UNKNOWN", sent=True)
        return
    crash.point("f2")
    async with runtime.sessions.begin() as session:
        await apply(session, told)
        _tried(runtime, await session.get_one(Refund, refund_id))
        crash.point("f3")
    crash.point("f4")


def _tried(runtime: Runtime, refund: Refund) -> None:
    """The channel was asked: the next try is after a longer pause."""
    pause = PAUSES[min(refund.tries, len(PAUSES) - 1)] * random.uniform(1, 1.2)
    refund.tries += 1
    refund.next_try_at = now() + timedelta(seconds=pause * settings_of(runtime).payment_tempo)


_REASONS = {
    "withdrawn": "申请已撤回",
    "rejected": "未予许可",
    "late": "缴款单已失效",
    "twice": "重复支付",
    "wrong_amount": "金额不符",
}


async def _note(runtime: Runtime, refund_id: str, code: str, *, sent: bool = False) -> None:
    """Keep why a try brought no news; `sent`: the channel may have it."""
    async with runtime.sessions.begin() as session:
        refund = await session.get_one(Refund, refund_id, with_for_update=True)
        refund.error_code = code
        _tried(runtime, refund)
        if sent and refund.state == RefundState.CREATED:
            move(session, refund, REFUND_TRANSITIONS, "submit")


async def apply(session: AsyncSession, told: channels.Refund) -> Heard:
    """Take over what the channel says of a refund: from its answer, a notice or a query alike."""
    known = await session.get(Refund, told.out_refund_no)
    if known is None:
        return Heard.UNKNOWN
    order = await session.get_one(
        PaymentOrder, known.order_id, with_for_update=True, populate_existing=True
    )
    refund = await session.get_one(Refund, known.id, with_for_update=True, populate_existing=True)
    if told.amount_fen != refund.amount_fen:
        log.error("refund %s: the channel tells another amount", refund.id)
        return Heard.MISMATCH
    refund.channel_refund_id = told.refund_id or refund.channel_refund_id
    if refund.state == RefundState.SUCCEEDED:
        return Heard.REPEATED
    match told.state:
        case channels.RefundState.SUCCEEDED:
            if refund.error_code == "CLOSED":
                log.error("refund %s: the channel had closed it and now paid it", refund.id)
                return Heard.MISMATCH
            await _succeeded(session, order, refund, told)
        case channels.RefundState.CLOSED | channels.RefundState.ABNORMAL:
            if refund.state == RefundState.ERROR:
                return Heard.REPEATED
            await _failed(session, refund, told)
        case _:
            if refund.state == RefundState.ERROR:
                return Heard.REPEATED
            refund.error_code = None
            if refund.state == RefundState.SUBMITTED:
                return Heard.REPEATED
            move(session, refund, REFUND_TRANSITIONS, "submit")
    return Heard.APPLIED


async def _succeeded(
    session: AsyncSession, order: PaymentOrder, refund: Refund, told: channels.Refund
) -> None:
    charge = await session.get_one(Charge, refund.charge_id)
    refund.succeeded_at = told.succeeded_at or now()
    refund.error_code = None
    move(session, refund, REFUND_TRANSITIONS, "succeed")
    booked = select(LedgerTxn.id).filter_by(reference=f"charge:{charge.id}")
    await ledger.transfer(
        session,
        reference=f"refund:{refund.id}",
        kind="refund",
        debit=charge.account,
        credit=ledger.clearing(charge.channel),
        amount_fen=refund.amount_fen,
        effective_at=refund.succeeded_at,
        reverses=await session.scalar(booked) if refund.amount_fen == charge.amount_fen else None,
    )
    facts = {
        "payment_id": order.id,
        "refund_id": refund.id,
        "case_id": order.case_id,
        "payer_id": order.payer_id,
        "amount_fen": refund.amount_fen,
    }
    if charge.account == ledger.SUSPENSE:
        # It never paid the order, so the order's state does not move; the payer is told.
        order.version += 1
        emit(
            session,
            PaymentRefunded.model_validate(facts),
            subject=order.id,
            version=order.version,
            region=order.region,
            dept=order.dept,
        )
        return
    order.refunded_fen += refund.amount_fen
    whole = order.refunded_fen == order.paid_fen
    move(session, order, ORDER_TRANSITIONS, "refund_rest" if whole else "refund_part", **facts)


async def _failed(session: AsyncSession, refund: Refund, told: channels.Refund) -> None:
    refund.error_code = told.state.name
    move(session, refund, REFUND_TRANSITIONS, "fail")
    log.error("refund %s ended as %s at the channel", refund.id, told.state.name)
    if told.state is channels.RefundState.ABNORMAL or refund.n > NEW_NUMBERS:
        return
    charge = await session.get_one(Charge, refund.charge_id, with_for_update=True)
    charge.returned_fen -= refund.amount_fen
    await session.flush()
    await start(session, charge.id, amount_fen=refund.amount_fen, reason=refund.reason)


async def find(
    session: AsyncSession, *, state: str | None, after: str | None, limit: int
) -> Sequence[Refund]:
    """All refunds, or those in a state, by id, those after the id `after`."""
    query = select(Refund).order_by(Refund.id).limit(limit)
    if state is not None:
        query = query.where(Refund.state == state)
    if after is not None:
        query = query.where(Refund.id > after)
    return (await session.scalars(query)).all()
