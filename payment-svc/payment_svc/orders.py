"""Payment orders: what is owed for a case, from the fee's notice to its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.payment import PaymentCreated
from contracts.reads import PaymentDataRead
from kit import crash, reads
from kit.auth import Caller
from kit.clock import now
from kit.errors import NotFound
from kit.ids import derived_id
from kit.jobs import wake
from kit.lookups import Lookup, Reader
from kit.outbox import emit
from kit.rights import reach
from kit.states import move

from . import refunds
from .models import (
    LIVE,
    OPEN,
    ORDER_TRANSITIONS,
    Attempt,
    CaseEnd,
    OrderState,
    PaymentOrder,
    Refund,
)

# Fee and end of a case come through different consumers and may be handled at the same moment.
_ONE_AT_A_TIME = text("select pg_advisory_xact_lock(hashtextextended(:case_id, 0))")
_ORDER = Lookup(select(PaymentOrder), by=PaymentOrder.id)
_ATTEMPTS = Lookup(select(Attempt).order_by(Attempt.n), by=Attempt.order_id)
_REFUNDS = Lookup(select(Refund).order_by(Refund.created_at, Refund.id), by=Refund.order_id)


async def create(
    session: AsyncSession,
    *,
    case_id: str,
    fee_code: str,
    item_code: str,
    item_name: str,
    payer_id: str,
    amount_fen: int,
    region: str,
    dept: str,
    case_version: int,
    life: timedelta,
) -> PaymentOrder | None:
    """The order for a fee of `amount_fen` > 0, payable for `life`. Called again it gives the same
    order; None for a case that has ended after `case_version`, whose fee is due no more."""
    await session.execute(_ONE_AT_A_TIME, {"case_id": case_id})
    ended = await session.get(CaseEnd, case_id)
    if ended is not None and ended.version > case_version:
        return None
    order_id = derived_id("pay", case_id, fee_code)
    known = await session.get(PaymentOrder, order_id)
    if known is not None:
        return known
    order = PaymentOrder(
        id=order_id,
        case_id=case_id,
        fee_code=fee_code,
        item_code=item_code,
        item_name=item_name,
        payer_id=payer_id,
        amount_fen=amount_fen,
        paid_fen=0,
        refunded_fen=0,
        state=OrderState.CREATED,
        version=1,
        region=region,
        dept=dept,
        expires_at=now() + life,
    )
    session.add(order)
    await session.flush()
    created = PaymentCreated(
        payment_id=order.id,
        case_id=case_id,
        payer_id=payer_id,
        amount_fen=amount_fen,
        expires_at=order.expires_at,
    )
    emit(session, created, subject=order.id, version=1, region=region, dept=dept)
    return order


async def end_case(session: AsyncSession, case_id: str, *, reason: str, case_version: int) -> None:
    """The case was withdrawn or rejected: cancel what is not paid, give back what is."""
    await session.execute(_ONE_AT_A_TIME, {"case_id": case_id})
    end = insert(CaseEnd).values(case_id=case_id, reason=reason, version=case_version)
    await session.execute(
        end.on_conflict_do_update(
            index_elements=[CaseEnd.case_id],
            set_={"reason": end.excluded.reason, "version": end.excluded.version},
            where=CaseEnd.version < end.excluded.version,
        )
    )
    orders = select(PaymentOrder).filter_by(case_id=case_id).order_by(PaymentOrder.id)
    for order in await session.scalars(orders.with_for_update()):
        if order.state in OPEN:
            await cancel(session, order)
        elif order.state in (OrderState.PAID, OrderState.PARTIALLY_REFUNDED):
            await refunds.start_rest(session, order, reason)


async def cancel(session: AsyncSession, order: PaymentOrder) -> None:
    """The fee is due no more; `order` is locked and open. A payment that is under way is closed
    at the channel right after, and refunded if it was quicker."""
    move(session, order, ORDER_TRANSITIONS, "cancel", payment_id=order.id, case_id=order.case_id)
    await close_attempts(session, order.id)


async def close_attempts(session: AsyncSession, order_id: str) -> bool:
    """Have the order's live attempt, if there is one, closed at the channel. True if there is."""
    live = (Attempt.order_id == order_id, Attempt.state.in_(LIVE))
    if await session.scalar(select(Attempt.id).where(*live).limit(1)) is None:
        return False
    await session.execute(
        update(Attempt)
        .where(*live, Attempt.closing.is_(False))
        .values(closing=True, next_query_at=func.now())
    )
    wake(session, "sweep_attempts")
    return True


async def expire_due(session: AsyncSession, *, limit: int = 50) -> int:
    """Expire open orders whose time is over: first their live attempt is closed at the channel,
    then, once nobody can pay it any more, the order expires. Returns how many have expired."""
    early = timedelta(days=30) if crash.planted("expires_early") else timedelta(0)
    due = (
        select(PaymentOrder)
        .where(PaymentOrder.state.in_(OPEN), PaymentOrder.expires_at <= func.now() + early)
        .order_by(PaymentOrder.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    expired = 0
    for order in await session.scalars(due):
        if not await close_attempts(session, order.id):
            move(
                session,
                order,
                ORDER_TRANSITIONS,
                "expire",
                payment_id=order.id,
                case_id=order.case_id,
            )
            expired += 1
    return expired


def _readable_by(caller: Caller) -> ColumnElement[bool]:
    """Payers read their own orders, staff those of their department, region and items."""
    if caller.kind != "staff":
        return PaymentOrder.payer_id == caller.subject
    columns = PaymentOrder
    return reach(caller, dept=columns.dept, region=columns.region, item=columns.item_code)


async def read(session: AsyncSession, order_id: str, caller: Caller) -> PaymentOrder:
    """An order that the caller may read. Raises NotFound (404)."""
    order = await session.scalar(
        select(PaymentOrder).where(PaymentOrder.id == order_id, _readable_by(caller))
    )
    if order is None:
        raise no_such_order()
    event = PaymentDataRead(
        account_id=order.payer_id, kind="payment", object_id=order.id, **reads.reader(caller)
    )
    await reads.tell(session, caller, event)
    return order


@dataclass(frozen=True, slots=True)
class View:
    """An order with its attempts and refunds, oldest first. `version` counts every change."""

    order: PaymentOrder
    attempts: Sequence[Attempt]
    refunds: Sequence[Refund]

    @property
    def version(self) -> int:
        tried = sum(attempt.version for attempt in self.attempts)
        return self.order.version + tried + sum(refund.version for refund in self.refunds)


async def view(session: AsyncSession, lookups: Reader, order_id: str, caller: Caller) -> View:
    """An order that the caller may read, with what happened to it. Raises NotFound (404)."""
    if caller.kind == "staff":
        order = await read(session, order_id, caller)
    else:
        found = await lookups.one(_ORDER, order_id)
        if found is None or found.payer_id != caller.subject:
            raise no_such_order()
        order = found
    attempts, given_back = lookups.all(_ATTEMPTS, order_id), lookups.all(_REFUNDS, order_id)
    return View(order, await attempts, await given_back)


def no_such_order() -> NotFound:
    return NotFound("没有这笔缴款。请从“我的办件”重新进入。", "There is no such payment.")


async def find(
    session: AsyncSession, caller: Caller, *, case_id: str | None, after: str | None, limit: int
) -> Sequence[PaymentOrder]:
    """Orders that the caller may read, by id, those after the id `after`."""
    query = select(PaymentOrder).where(_readable_by(caller)).order_by(PaymentOrder.id).limit(limit)
    if case_id is not None:
        query = query.where(PaymentOrder.case_id == case_id)
    if after is not None:
        query = query.where(PaymentOrder.id > after)
    return (await session.scalars(query)).all()
