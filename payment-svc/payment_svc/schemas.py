"""Requests and answers. Amounts in fen, times in UTC."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from kit.auth import Caller
from kit.routing import In, Out

from .differences import Finding, Outcome
from .ledger import AccountBalance
from .models import LIVE, OPEN, Attempt, AttemptState, OrderState, PaymentOrder, RefundState
from .models_reconciliation import DifferenceState, DifferenceType, ReconciliationState
from .orders import View


class AttemptIn(In):
    """How the payer wants to pay."""

    channel: Literal["wechat_native"]


class AttemptOut(Out):
    """One try to pay. While `code_url` is null the channel has not answered yet: read again."""

    attempt_id: str
    channel: str
    state: AttemptState
    code_url: str | None
    """Show it as a QR code; null unless it can be paid."""
    expires_at: datetime

    @classmethod
    def of(cls, attempt: Attempt) -> "AttemptOut":
        return cls(
            attempt_id=attempt.id,
            channel=attempt.method,
            state=AttemptState(attempt.state),
            code_url=attempt.code_url if attempt.state in LIVE and not attempt.closing else None,
            expires_at=attempt.expires_at,
        )


class RefundOut(Out):
    """Money on its way back."""

    id: str
    amount_fen: int
    reason: str
    """withdrawn | rejected | late | twice | wrong_amount"""
    state: RefundState
    succeeded_at: datetime | None


class RefundRow(RefundOut):
    """A refund as an operator sees it. `error_code` is the channel's word for what hinders it;
    in state `error` with `ABNORMAL` a person must see to it at the channel."""

    order_id: str
    error_code: str | None
    tries: int
    next_try_at: datetime
    created_at: datetime


class PaymentOut(Out):
    """What is owed for a case and what was paid."""

    id: str
    case_id: str
    item_code: str
    item_name: str
    amount_fen: int
    paid_fen: int
    refunded_fen: int
    state: OrderState
    expires_at: datetime
    paid_at: datetime | None
    created_at: datetime


class PaymentDetail(PaymentOut):
    """A payment with its newest attempt (for its payer) and its refunds."""

    attempt: AttemptOut | None
    refunds: list[RefundOut]

    @classmethod
    def of(cls, view: View, caller: Caller) -> "PaymentDetail":
        order: PaymentOrder = view.order
        attempt = None
        if view.attempts and caller.subject == order.payer_id:
            attempt = AttemptOut.of(view.attempts[-1])
            if order.state not in OPEN:
                attempt.code_url = None
        return cls(
            **PaymentOut.model_validate(order).model_dump(),
            attempt=attempt,
            refunds=[RefundOut.model_validate(refund) for refund in view.refunds],
        )


class AccountOut(Out):
    """An account of the ledger; `balance_fen` = debits − credits."""

    account: str
    debit_fen: int
    credit_fen: int
    balance_fen: int


class LedgerOut(Out):
    """All accounts. `total_fen` is the sum of the balances and never anything but 0."""

    accounts: list[AccountOut]
    total_fen: int

    @classmethod
    def of(cls, balances: list[AccountBalance]) -> "LedgerOut":
        return cls(
            accounts=[AccountOut.model_validate(balance) for balance in balances],
            total_fen=sum(balance.balance_fen for balance in balances),
        )


class ReconciliationIn(In):
    """Which day to reconcile, now or again."""

    channel: Literal["wechat"]
    day: Annotated[date, Field(examples=["2026-09-01"])]
    """A calendar day in Asia/Shanghai that is over, of the last 85 days."""


class ReconciliationOut(Out):
    """One day of a channel: its bill and our books. While `digest` is null no bill was read;
    `problem` says why the last try brought none."""

    id: str
    channel: str
    day: date
    state: ReconciliationState
    digest: str | None
    """Hash of the bill's file; empty when nothing moved at the channel on that day."""
    trade_count: int
    trade_fen: int
    refund_count: int
    refund_fen: int
    moved_fen: int
    """Payments − refunds that took place, by the bill."""
    booked_fen: int
    """The same by our clearing account; a day ends when both are one, but for `settled_fen`."""
    settled_fen: int
    """How much of the gap persons have settled."""
    problem: str | None
    """not_ready | no_answer, or what is wrong with the bill"""
    next_at: datetime | None
    """When the bill is fetched next."""
    loaded_at: datetime | None
    finished_at: datetime | None
    """When it came to its end, matched or closed."""
    created_at: datetime


class DifferenceOut(Out):
    """Something in which bill and books do not agree. Numbers of ours and the channel's, null where
    there are none; `gap_fen` is how much more the channel's account moved than ours."""

    id: str
    reconciliation_id: str
    type: DifferenceType
    state: DifferenceState
    trade_no: str | None
    transaction_id: str | None
    order_id: str | None
    attempt_id: str | None
    charge_id: str | None
    refund_id: str | None
    bill_fen: int | None
    books_fen: int | None
    gap_fen: int
    bill_state: str | None
    """The channel's word in its bill."""
    finding: Finding | None
    """While it is open: what asking the channel brought."""
    outcome: Outcome | None
    """How it ended."""
    ended_by: str | None
    """Account of who settled it."""
    note: str | None
    """What a person wrote who settled it, also when it was opened again."""
    found_at: datetime
    ended_at: datetime | None


class SettleIn(In):
    """Why the difference is none, or how it was seen to outside. No names, no numbers of people."""

    note: Annotated[str, Field(min_length=2, max_length=500)]
