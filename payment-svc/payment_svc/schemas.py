"""Requests and answers. Amounts in fen, times in UTC."""

from datetime import datetime
from typing import Literal

from kit.auth import Caller
from kit.routing import In, Out

from .ledger import AccountBalance
from .models import LIVE, OPEN, Attempt, AttemptState, OrderState, PaymentOrder, RefundState
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
