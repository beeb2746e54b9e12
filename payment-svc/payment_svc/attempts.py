"""Attempts: one try to pay an order at a channel. At most one is live; success always wins.

A channel is never called inside a transaction. What it does not answer is unknown, and only a
query says what became of it.
"""

import logging
import random
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, select

from kit import crash
from kit.clock import now
from kit.errors import Conflict, Problem, Unavailable
from kit.ids import derived_id, new_id
from kit.jobs import wake
from kit.runtime import Runtime
from kit.states import move

from . import channels, charges, orders
from .channels import Channel, TradeState
from .models import (
    ATTEMPT_TRANSITIONS,
    LIVE,
    OPEN,
    ORDER_TRANSITIONS,
    Attempt,
    AttemptState,
    OrderState,
    PaymentOrder,
)
from .outside import METHODS, channel_of
from .settings import settings_of

log = logging.getLogger(__name__)
PAUSES = (5, 15, 60, 90)
"""Seconds between two queries for one attempt; the last one goes on, plus up to a fifth."""
CLAIM_SECONDS = 10
"""After so long, more than a call of the channel takes, a query that came to no end is taken up
again: we were killed, or our own database had trouble. It does not count: only the
channel's answers, or its silence, make pauses longer."""
USABLE = timedelta(seconds=60)
"""A code with less time left is renewed."""


class NotPayable(Conflict):
    status, code, title = 409, "not_payable", ("不能缴款", "It cannot be paid")


class ChannelRefused(Problem):
    status, code, title = 502, "channel_refused", ("支付渠道未接受", "The channel refused")


async def start(runtime: Runtime, order_id: str, payer: str, method: str) -> Attempt:
    """A live attempt of `payer` to pay the order by `method`, with its code_url if the channel
    has answered; asked again it gives the same one. Another method, or a code that runs out,
    closes the old attempt at the channel first.

    Raises NotFound (404), NotPayable (409), ChannelRefused (502), Unavailable (503).
    """
    channel = channel_of(runtime, METHODS[method])
    for _ in range(2):
        attempt = await _open(runtime, order_id, payer, method, channel.name)
        if attempt.closing:
            await settle(runtime, attempt.id)
        elif attempt.state == AttemptState.NEW:
            attempt = await _place(runtime, attempt, channel)
            break
        else:
            break
    if attempt.error_code is not None:
        raise ChannelRefused(
            "支付渠道未接受这次缴款。请稍后重试或换一种方式。",
            "The channel did not take this payment. Try again later or another way.",
        )
    if attempt.closing:
        raise Unavailable(
            "上一个付款码正在关闭,以免重复缴款。请稍后重试。",
            "The former code is being closed, so that nothing is paid twice. Try again shortly.",
        )
    return attempt


async def _open(runtime: Runtime, order_id: str, payer: str, method: str, channel: str) -> Attempt:
    """The order's live attempt (marked as closing when it is of no use), or a new one."""
    settings = settings_of(runtime)
    async with runtime.sessions.begin() as session:
        order = await session.get(PaymentOrder, order_id, with_for_update=True)
        if order is None or order.payer_id != payer:
            raise orders.no_such_order()
        left = order.expires_at - now()
        if order.state not in OPEN or left <= timedelta(0):
            raise NotPayable(
                "这笔缴款已缴清、已取消或已过期,无需再缴。",
                "It is paid, cancelled or expired; there is nothing to pay.",
                state=order.state,
            )
        of_order = Attempt.order_id == order.id
        live = await session.scalar(
            select(Attempt).where(of_order, Attempt.state.in_(LIVE)).with_for_update()
        )
        life = timedelta(minutes=settings.payment_attempt_minutes)
        if live is not None:
            worn = (
                live.expires_at - now() < min(USABLE, life / 2)
                and live.expires_at < order.expires_at
            )
            if live.method != method or worn:
                live.closing = True
            return live
        n = 1 + (await session.scalar(select(func.count()).where(of_order)) or 0)
        attempt_id = derived_id("try", order.id, str(n))
        attempt = Attempt(
            id=attempt_id,
            order_id=order.id,
            n=n,
            method=method,
            channel=channel,
            trade_no=attempt_id.removeprefix("try_"),
            amount_fen=order.amount_fen,
            state=AttemptState.NEW,
            version=1,
            closing=False,
            expires_at=now() + min(life, left),
            queries=0,
            next_query_at=now() + timedelta(seconds=PAUSES[0] * settings.payment_tempo),
        )
        session.add(attempt)
        if order.state == OrderState.CREATED:
            move(session, order, ORDER_TRANSITIONS, "start")
        await session.flush()
        crash.point("p1")
        return attempt


async def _place(runtime: Runtime, attempt: Attempt, channel: Channel) -> Attempt:
    """Place the attempt's order at the channel and keep the answer. Repeating it is harmless:
    the same number with the same facts is the same order there."""
    async with runtime.sessions() as session:
        order = await session.get_one(PaymentOrder, attempt.order_id)
    trade_no = attempt.trade_no
    if crash.planted("new_trade_no_per_try"):
        trade_no = new_id("try").removeprefix("try_")
    crash.point("p2")
    placed, refusal = None, None
    try:
        placed = await channel.order(
            out_trade_no=trade_no,
            amount_fen=attempt.amount_fen,
            description=order.item_name[:40],
            expires_at=attempt.expires_at,
        )
    except channels.Refused as refused:
        log.error("attempt %s refused by %s: %s", attempt.id, channel.name, refused.code)
        refusal = refused.code
    except channels.ChannelError as error:
        log.warning("attempt %s: %s from %s", attempt.id, type(error).__name__, channel.name)
    crash.point("p3")
    async with runtime.sessions.begin() as session:
        row = await session.get_one(Attempt, attempt.id, with_for_update=True)
        if row.state in LIVE and placed is not None:
            row.code_url, row.trade_no = placed.pay_url, placed.out_trade_no
            if row.state != AttemptState.SUBMITTED:
                move(session, row, ATTEMPT_TRANSITIONS, "submit")
        elif row.state in LIVE and refusal is not None:
            # Only a query tells whether an earlier call under this number took effect.
            row.closing, row.error_code, row.next_query_at = True, refusal, now()
            wake(session, "sweep_attempts")
        elif row.state == AttemptState.NEW:
            move(session, row, ATTEMPT_TRANSITIONS, "lose")
        crash.point("p4")
    crash.point("p5")
    return row


async def claim_due(runtime: Runtime, *, limit: int = 10) -> Sequence[str]:
    """Take live attempts that are due for a query; others see them again only after
    CLAIM_SECONDS."""
    tempo = settings_of(runtime).payment_tempo
    async with runtime.sessions.begin() as session:
        due = (
            select(Attempt)
            .where(Attempt.state.in_(LIVE), Attempt.next_query_at <= func.now())
            .order_by(Attempt.next_query_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        attempts = (await session.scalars(due)).all()
        for attempt in attempts:
            attempt.next_query_at = now() + timedelta(seconds=CLAIM_SECONDS * tempo)
        return [attempt.id for attempt in attempts]


async def settle(runtime: Runtime, attempt_id: str) -> None:
    """Ask the channel what became of a live attempt and act on it: book its payment, close it
    when its time is over, place it when it never arrived. Without an answer nothing changes."""
    async with runtime.sessions() as session:
        attempt = await session.get_one(Attempt, attempt_id)
    if attempt.state not in LIVE:
        return
    channel = channel_of(runtime, attempt.channel)
    over = attempt.closing or attempt.expires_at <= now()
    ending = "close" if attempt.error_code is None else "fail"
    try:
        trade = await channel.query(attempt.trade_no)
        if trade.state is TradeState.FAILED:
            over, ending = True, "fail"
        if over and trade.state in (TradeState.OPEN, TradeState.FAILED):
            trade = await _close(channel, attempt.trade_no)
    except channels.ChannelError as error:
        log.warning("attempt %s: %s from %s", attempt.id, type(error).__name__, channel.name)
        await _queried(runtime, attempt.id)
        return
    if trade.state is TradeState.PAID:
        async with runtime.sessions.begin() as session:
            await charges.apply_success(session, channel.name, trade, believed=True)
        await _queried(runtime, attempt.id)  # what we cannot book lives on
    elif trade.state is TradeState.CLOSED or (over and trade.state is TradeState.ABSENT):
        await _end(runtime, attempt.id, ending)
    else:
        await _queried(runtime, attempt.id)
        if not over and (trade.state is TradeState.ABSENT or attempt.code_url is None):
            await _place(runtime, attempt, channel)


async def _queried(runtime: Runtime, attempt_id: str) -> None:
    """The channel was asked and the attempt lives on: the next query is after a longer pause."""
    async with runtime.sessions.begin() as session:
        attempt = await session.get_one(Attempt, attempt_id, with_for_update=True)
        if attempt.state not in LIVE:
            return
        attempt.queries += 1
        pause = PAUSES[min(attempt.queries, len(PAUSES) - 1)] * random.uniform(1, 1.2)
        tempo = settings_of(runtime).payment_tempo
        attempt.next_query_at = now() + timedelta(seconds=pause * tempo)


async def _close(channel: Channel, trade_no: str) -> channels.Trade:
    try:
        await channel.close(trade_no)
    except channels.Refused as refused:
        log.info("closing %s refused by %s: %s", trade_no, channel.name, refused.code)
    return await channel.query(trade_no)


async def _end(runtime: Runtime, attempt_id: str, action: str) -> None:
    async with runtime.sessions.begin() as session:
        attempt = await session.get_one(Attempt, attempt_id, with_for_update=True)
        if attempt.state in LIVE:
            move(session, attempt, ATTEMPT_TRANSITIONS, action)


async def verify(runtime: Runtime, channel: Channel, trade_no: str) -> None:
    """Ask the channel again about a payment whose notice does not fit, and book what it says."""
    try:
        trade = await channel.query(trade_no)
    except channels.ChannelError as error:
        log.warning("doubtful notice: %s from %s", type(error).__name__, channel.name)
        return
    if trade.state is TradeState.PAID:
        async with runtime.sessions.begin() as session:
            await charges.apply_success(session, channel.name, trade, believed=True)
