"""Tables of payment-svc. Amounts are integer fen; no personal data, account ids only."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from contracts.payment import PaymentCancelled, PaymentExpired, PaymentPaid, PaymentRefunded
from kit.db import APPEND_ONLY, Document, Moment, Now
from kit.seals.blocks import Trail, sealed
from kit.states import Transitions

from . import models_reconciliation as models_reconciliation
from .base import Base, Fen


class OrderState(StrEnum):
    CREATED = "created"
    PENDING = "pending"
    PAID = "paid"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


OPEN = (OrderState.CREATED, OrderState.PENDING)
ORDER_TRANSITIONS: Transitions = {
    ("created", "start"): ("pending", None),
    ("pending", "pay"): ("paid", PaymentPaid),
    ("created", "cancel"): ("cancelled", PaymentCancelled),
    ("pending", "cancel"): ("cancelled", PaymentCancelled),
    ("created", "expire"): ("expired", PaymentExpired),
    ("pending", "expire"): ("expired", PaymentExpired),
    ("paid", "refund_part"): ("partially_refunded", PaymentRefunded),
    ("partially_refunded", "refund_part"): ("partially_refunded", PaymentRefunded),
    ("paid", "refund_rest"): ("refunded", PaymentRefunded),
    ("partially_refunded", "refund_rest"): ("refunded", PaymentRefunded),
}


class PaymentOrder(Base):
    """What is owed: one fee of one case. Its life is told to others by events."""

    __tablename__ = "payment_order"
    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(index=True)
    fee_code: Mapped[str]
    item_code: Mapped[str]
    item_name: Mapped[str]
    payer_id: Mapped[str]
    amount_fen: Mapped[Fen]
    paid_fen: Mapped[Fen] = mapped_column(server_default="0", default=0)
    refunded_fen: Mapped[Fen] = mapped_column(server_default="0", default=0)
    state: Mapped[str]
    version: Mapped[int]
    region: Mapped[str]
    dept: Mapped[str]
    expires_at: Mapped[Moment]
    paid_at: Mapped[datetime | None]
    created_at: Mapped[Now]
    __table_args__ = (
        CheckConstraint("amount_fen > 0", name="amount"),
        CheckConstraint("refunded_fen between 0 and paid_fen", name="refunded"),
        Index("payment_order_payer_idx", "payer_id", "id"),
        Index("payment_order_dept_idx", "dept", "id"),
        Index(
            "payment_order_open_idx",
            "expires_at",
            postgresql_where=text("state in ('created', 'pending')"),
        ),
    )


class AttemptState(StrEnum):
    NEW = "new"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    PAID = "paid"
    FAILED = "failed"
    CLOSED = "closed"


LIVE = (AttemptState.NEW, AttemptState.SUBMITTED, AttemptState.UNKNOWN)
_LIVE_SQL = text("state in ('new', 'submitted', 'unknown')")
ATTEMPT_TRANSITIONS: Transitions = {
    ("new", "submit"): ("submitted", None),
    ("unknown", "submit"): ("submitted", None),
    ("new", "lose"): ("unknown", None),
    ("new", "fail"): ("failed", None),
    ("unknown", "fail"): ("failed", None),
    ("submitted", "fail"): ("failed", None),
    ("new", "close"): ("closed", None),
    ("unknown", "close"): ("closed", None),
    ("submitted", "close"): ("closed", None),
    # Success always wins: the money is there, whatever was believed before.
    ("new", "pay"): ("paid", None),
    ("unknown", "pay"): ("paid", None),
    ("submitted", "pay"): ("paid", None),
    ("failed", "pay"): ("paid", None),
    ("closed", "pay"): ("paid", None),
}


class Attempt(Base):
    """One try to pay an order at one channel, under one number of ours (`trade_no`)."""

    __tablename__ = "attempt"
    id: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("payment_order.id"), index=True)
    n: Mapped[int]
    """1, 2, 3 … within the order"""
    method: Mapped[str]
    channel: Mapped[str]
    trade_no: Mapped[str]
    amount_fen: Mapped[Fen]
    state: Mapped[str]
    version: Mapped[int]
    code_url: Mapped[str | None]
    closing: Mapped[bool] = mapped_column(server_default="false", default=False)
    """Nobody shall pay it any more: the sweeper closes it at the channel."""
    error_code: Mapped[str | None]
    expires_at: Mapped[Moment]
    queries: Mapped[int] = mapped_column(server_default="0", default=0)
    next_query_at: Mapped[Moment]
    created_at: Mapped[Now]
    __table_args__ = (
        UniqueConstraint("channel", "trade_no"),
        UniqueConstraint("order_id", "n"),
        Index("attempt_one_live_idx", "order_id", unique=True, postgresql_where=_LIVE_SQL),
        Index("attempt_due_idx", "next_query_at", postgresql_where=_LIVE_SQL),
    )


class Charge(Base):
    """Money that arrived. What arrived too late, twice or wrongly lies in `suspense` until its
    refund; an order has at most one charge that pays it."""

    __tablename__ = "charge"
    id: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("payment_order.id"), index=True)
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempt.id"))
    channel: Mapped[str]
    transaction_id: Mapped[str]
    amount_fen: Mapped[Fen]
    account: Mapped[str]
    """Ledger account that it was booked to: `payable:<dept>:<item>` or `suspense`."""
    returned_fen: Mapped[Fen] = mapped_column(server_default="0", default=0)
    """Promised to refunds, whether they have succeeded yet or not."""
    paid_at: Mapped[Moment]
    created_at: Mapped[Now]
    __table_args__ = (
        UniqueConstraint("channel", "transaction_id"),
        CheckConstraint("amount_fen > 0", name="amount"),
        CheckConstraint("returned_fen between 0 and amount_fen", name="returned"),
        Index(
            "charge_one_pays_idx",
            "order_id",
            unique=True,
            postgresql_where=text("account <> 'suspense'"),
        ),
        Index("charge_day_idx", "channel", "paid_at"),
    )


class RefundState(StrEnum):
    CREATED = "created"
    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    ERROR = "error"


REFUND_TRANSITIONS: Transitions = {
    ("created", "submit"): ("submitted", None),
    ("created", "succeed"): ("succeeded", None),
    ("submitted", "succeed"): ("succeeded", None),
    ("created", "fail"): ("error", None),
    ("submitted", "fail"): ("error", None),
    # The payer's account refused it, a person saw to it at the channel.
    ("error", "succeed"): ("succeeded", None),
}


class Refund(Base):
    """Money on its way back. The id is our refund number at the channel."""

    __tablename__ = "refund"
    id: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("payment_order.id"), index=True)
    charge_id: Mapped[str] = mapped_column(ForeignKey("charge.id"), index=True)
    n: Mapped[int]
    """1, 2, 3 … within the charge"""
    amount_fen: Mapped[Fen]
    reason: Mapped[str]
    state: Mapped[str]
    version: Mapped[int]
    channel_refund_id: Mapped[str | None]
    error_code: Mapped[str | None]
    tries: Mapped[int] = mapped_column(server_default="0", default=0)
    next_try_at: Mapped[Moment]
    succeeded_at: Mapped[datetime | None]
    created_at: Mapped[Now]
    __table_args__ = (
        UniqueConstraint("charge_id", "n"),
        CheckConstraint("amount_fen > 0", name="amount"),
        Index(
            "refund_due_idx",
            "next_try_at",
            postgresql_where=text("state in ('created', 'submitted')"),
        ),
        Index("refund_error_idx", "created_at", postgresql_where=text("state = 'error'")),
        Index("refund_day_idx", "succeeded_at", postgresql_where=text("state = 'succeeded'")),
    )


class CaseEnd(Base):
    """A case that was withdrawn or rejected. Kept because its fee may be told after its end."""

    __tablename__ = "case_end"
    case_id: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    version: Mapped[int]
    """The case's version at its end."""


class ChannelNotice(Base):
    """A call-back as it came, byte for byte, and what was made of it."""

    __tablename__ = "channel_notice"
    channel: Mapped[str] = mapped_column(primary_key=True)
    notice_id: Mapped[str] = mapped_column(primary_key=True)
    about: Mapped[str] = mapped_column(index=True)
    """trade_no or refund id"""
    outcome: Mapped[str]
    headers: Mapped[Document]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    received_at: Mapped[Now]
    __table_args__ = ({"info": APPEND_ONLY},)


BOOKINGS = Trail(
    "ledger_txn",
    time="recorded_at",
    parts="select jsonb_agg(to_jsonb(e) order by e.n) from ledger_entry e where e.txn_id = t.id",
)
"""A booking is sealed with its legs, which join it only in the transaction that wrote it."""


class LedgerTxn(Base):
    """One booking; its entries balance, checked by the database at commit. Never changed."""

    __tablename__ = "ledger_txn"
    id: Mapped[str] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    reverses: Mapped[str | None] = mapped_column(ForeignKey("ledger_txn.id"), unique=True)
    """The booking that this one takes back in full."""
    effective_at: Mapped[Moment] = mapped_column(index=True)
    recorded_at: Mapped[Now] = mapped_column(index=True)
    __table_args__ = ({"info": sealed(BOOKINGS)},)


class LedgerEntry(Base):
    """One leg of a booking."""

    __tablename__ = "ledger_entry"
    txn_id: Mapped[str] = mapped_column(ForeignKey("ledger_txn.id"), primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(index=True)
    direction: Mapped[str]
    """debit | credit"""
    amount_fen: Mapped[Fen]
    __table_args__ = (
        CheckConstraint("amount_fen > 0", name="amount"),
        CheckConstraint("direction in ('debit', 'credit')", name="direction"),
        {"info": APPEND_ONLY},
    )
