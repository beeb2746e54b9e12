"""Any order of payments, cancellations and refunds, against a model of what must be true: no money
is lost, none is kept that is not owed, the books balance and agree with the channel's."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kit import crash
from kit.db import open_engine, open_sessions
from kit.ids import derived_id, new_id
from kit.states import move
from kit.testing import Ground
from payment_svc import channels, charges, ledger, orders, refunds
from payment_svc.channels import Paid, RefundState, Trade, TradeState
from payment_svc.models import (
    ATTEMPT_TRANSITIONS,
    LIVE,
    ORDER_TRANSITIONS,
    Attempt,
    Charge,
    LedgerEntry,
    LedgerTxn,
    PaymentOrder,
    Refund,
)
from payment_svc.refunds import Heard

DUE = 1000
NOW = datetime(2026, 11, 22, tzinfo=UTC)
ENDS = [state for state in RefundState if state is not RefundState.ABSENT]
numbers = count(1)


@dataclass
class Outside:
    """The channel's own book: what was paid there and what was given back."""

    paid: dict[str, int] = field(default_factory=dict)
    given_back: dict[str, int] = field(default_factory=dict)


class PaymentMachine(RuleBasedStateMachine):
    """Drives the domain functions on a real database, one transaction per rule."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.engine = open_engine(self.url)
        self.sessions = open_sessions(self.engine)
        self.outside = Outside()
        self.case_id = new_id("case")
        self.dept = f"D{next(numbers)}"
        self.ended = False
        self.pays_order: str | None = None
        self.order_id = self.runner.run(self._create())

    def teardown(self) -> None:
        self.runner.run(self.engine.dispose())
        self.runner.close()

    async def _create(self) -> str:
        async with self.sessions.begin() as session:
            order = await orders.create(
                session,
                case_id=self.case_id,
                fee_code="F",
                item_code="A05",
                item_name="食品经营许可",
                payer_id="acc_1",
                amount_fen=DUE,
                region="310115",
                dept=self.dept,
                case_version=1,
                life=timedelta(days=1),
            )
            assert order is not None
            return order.id

    async def _attempts(self, session: AsyncSession) -> list[Attempt]:
        found = select(Attempt).filter_by(order_id=self.order_id).order_by(Attempt.n)
        return list(await session.scalars(found))

    @property
    def state(self) -> str:
        async def read() -> str:
            async with self.sessions() as session:
                return (await session.get_one(PaymentOrder, self.order_id)).state

        return self.runner.run(read())

    @precondition(lambda self: self.state in ("created", "pending"))
    @rule()
    def new_attempt(self) -> None:
        """As after a renewal: the old attempt was closed, a new one is live."""

        async def act() -> None:
            async with self.sessions.begin() as session:
                order = await session.get_one(PaymentOrder, self.order_id, with_for_update=True)
                attempts = await self._attempts(session)
                for attempt in attempts:
                    if attempt.state in LIVE:
                        move(session, attempt, ATTEMPT_TRANSITIONS, "close")
                await session.flush()
                number = derived_id("try", order.id, str(len(attempts)))
                session.add(
                    Attempt(
                        id=number,
                        order_id=order.id,
                        n=len(attempts) + 1,
                        method="wechat_native",
                        channel="wechat",
                        trade_no=number[4:],
                        amount_fen=DUE,
                        state="submitted",
                        version=1,
                        expires_at=NOW,
                        next_query_at=NOW,
                    )
                )
                if order.state == "created":
                    move(session, order, ORDER_TRANSITIONS, "start")

        self.runner.run(act())

    @rule(
        which=st.integers(0, 3),
        again=st.booleans(),
        amount=st.sampled_from([DUE, DUE, DUE, DUE - 1, 1]),
        believed=st.booleans(),
    )
    def success_is_told(self, which: int, again: bool, amount: int, believed: bool) -> None:
        """Of any attempt, whatever its state, as a new payment or one told before."""

        async def act() -> None:
            async with self.sessions.begin() as session:
                attempts = await self._attempts(session)
                if not attempts:
                    return
                attempt = attempts[which % len(attempts)]
                transaction = f"t-{attempt.trade_no}" if again else new_id("t")
                known = self.outside.paid.get(transaction)
                paid = Paid(transaction, amount, NOW)
                trade = Trade(attempt.trade_no, TradeState.PAID, paid)
                state = (await session.get_one(PaymentOrder, self.order_id)).state
                heard = await charges.apply_success(session, "wechat", trade, believed=believed)
                if known is not None:
                    assert heard is (Heard.REPEATED if known == amount else Heard.MISMATCH)
                    return
                if amount != DUE and not believed:
                    assert heard is Heard.MISMATCH
                    return
                self.outside.paid[transaction] = amount
                if amount == DUE and state in ("created", "pending"):
                    assert heard is Heard.APPLIED
                    assert self.pays_order is None
                    self.pays_order = transaction
                else:
                    assert heard is Heard.SUSPENSE

        self.runner.run(act())

    @rule(reason=st.sampled_from(["withdrawn", "rejected"]))
    def case_ends(self, reason: str) -> None:
        async def act() -> None:
            async with self.sessions.begin() as session:
                await orders.end_case(session, self.case_id, reason=reason, case_version=2)

        self.runner.run(act())
        self.ended = True

    @rule(
        which=st.integers(0, 5),
        how=st.sampled_from(ENDS),
    )
    def refund_is_told(self, which: int, how: RefundState) -> None:
        """Of any refund, whatever its state; a channel keeps to its own last word."""

        async def act() -> None:
            async with self.sessions.begin() as session:
                found = select(Refund).filter_by(order_id=self.order_id).order_by(Refund.id)
                asked = list(await session.scalars(found))
                if not asked:
                    return
                refund = asked[which % len(asked)]
                if refund.error_code == "CLOSED" or (
                    refund.id in self.outside.given_back and how is not RefundState.SUCCEEDED
                ):
                    return
                told = channels.Refund(refund.id, "", how, "r", refund.amount_fen, NOW)
                await refunds.apply(session, told)
                if how is RefundState.SUCCEEDED:
                    self.outside.given_back[refund.id] = refund.amount_fen

        self.runner.run(act())

    @invariant()
    def the_books_are_right(self) -> None:
        self.runner.run(self._check())

    async def _check(self) -> None:
        async with self.sessions() as session:
            order = await session.get_one(PaymentOrder, self.order_id)
            booked = select(Charge).filter_by(order_id=order.id)
            money = list(await session.scalars(booked))
            assert {c.transaction_id: c.amount_fen for c in money} == self.outside.paid
            paying = [c.transaction_id for c in money if c.account != ledger.SUSPENSE]
            assert paying == ([self.pays_order] if self.pays_order else [])
            back = list(await session.scalars(select(Refund).filter_by(order_id=order.id)))
            done = {r.id: r.amount_fen for r in back if r.state == "succeeded"}
            assert done == self.outside.given_back
            for charge in money:
                promised = [r for r in back if r.charge_id == charge.id and not _void(r)]
                assert charge.returned_fen == sum(r.amount_fen for r in promised)
                assert 0 <= charge.returned_fen <= charge.amount_fen
                owed = charge.account == ledger.SUSPENSE or self.ended
                gave_up = any(_void(r) and r.n > refunds.NEW_NUMBERS for r in back)
                if owed and not gave_up:
                    assert charge.returned_fen == charge.amount_fen
            payable = ledger.payable(self.dept, "A05")
            assert await self._balance(session, payable) == order.refunded_fen - order.paid_fen
            assert order.paid_fen == (DUE if self.pays_order else 0)
            assert (order.state == "refunded") == (0 < order.paid_fen == order.refunded_fen)
            assert not (self.ended and order.state in ("created", "pending"))
            live = [a for a in await self._attempts(session) if a.state in LIVE]
            assert len(live) <= 1
            if order.state not in ("created", "pending"):
                assert all(attempt.closing for attempt in live)
            every = [account.balance_fen for account in await ledger.balances(session)]
            assert sum(every) == 0
            references = {f"charge:{c.id}" for c in money} | {f"refund:{id_}" for id_ in done}
            counted = select(func.count()).where(LedgerTxn.reference.in_(references))
            assert await session.scalar(counted) == len(references)

    async def _balance(self, session: AsyncSession, account: str) -> int:
        for entry in await ledger.balances(session):
            if entry.account == account:
                return entry.balance_fen
        none = select(func.count()).where(LedgerEntry.account == account)
        assert await session.scalar(none) == 0
        return 0


def _void(refund: Refund) -> bool:
    return refund.state == "error" and refund.error_code == "CLOSED"


@pytest.fixture(scope="module")
async def database(ground: Ground) -> str:
    return await ground.database("payment_svc")


QUICK = settings(
    max_examples=25,
    stateful_step_count=15,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_any_order_of_news_keeps_the_books_right(database: str) -> None:
    PaymentMachine.url = database
    run_state_machine_as_test(PaymentMachine, settings=QUICK)


@pytest.fixture
def no_amount_check() -> Iterator[None]:
    crash.arm("", "no_amount_check")
    yield
    crash.arm("", "")


@pytest.mark.long
@pytest.mark.usefixtures("no_amount_check")
def test_the_model_notices_a_missing_check_of_the_amount(database: str) -> None:
    PaymentMachine.url = database
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            PaymentMachine,
            settings=settings(QUICK, phases=[Phase.generate], max_examples=100),
        )
