"""Tables of the daily reconciliation: what a channel's bill tells of a day, and where our books
tell something else. Amounts are integer fen; nobody is named."""

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from contracts.payment import PaymentReconciliationClosed, PaymentReconciliationDifference
from kit.db import Moment, Now
from kit.states import Transitions

from .base import Base, Fen


class ReconciliationState(StrEnum):
    WAITING = "waiting"
    MATCHED = "matched"
    DIFFERS = "differs"
    CLOSED = "closed"


RECONCILIATION_TRANSITIONS: Transitions = {
    ("waiting", "match"): ("matched", PaymentReconciliationClosed),
    ("waiting", "differ"): ("differs", None),
    ("differs", "close"): ("closed", PaymentReconciliationClosed),
    # The channel corrected its bill, or a person took back what he had settled.
    ("matched", "differ"): ("differs", None),
    ("closed", "differ"): ("differs", None),
}


class Reconciliation(Base):
    """One day of one channel. A day is a calendar day in Asia/Shanghai."""

    __tablename__ = "reconciliation"
    id: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str]
    day: Mapped[date]
    state: Mapped[str]
    version: Mapped[int]
    digest: Mapped[str | None]
    """Of the bill's file; empty when the channel has none, since nothing moved there. None: no
    bill was read yet."""
    trade_count: Mapped[int] = mapped_column(server_default="0", default=0)
    trade_fen: Mapped[Fen] = mapped_column(server_default="0", default=0)
    refund_count: Mapped[int] = mapped_column(server_default="0", default=0)
    refund_fen: Mapped[Fen] = mapped_column(server_default="0", default=0)
    """What the bill itself sums up; its refunds in every state."""
    moved_fen: Mapped[Fen] = mapped_column(server_default="0", default=0)
    """What the channel's account moved by that day's lines: payments − refunds that took place."""
    booked_fen: Mapped[Fen] = mapped_column(server_default="0", default=0)
    """What our clearing account moved by the same: debits − credits."""
    settled_fen: Mapped[Fen] = mapped_column(server_default="0", default=0)
    """How much of `moved_fen` − `booked_fen` persons have settled."""
    problem: Mapped[str | None]
    """Why there is no bill yet: `not_ready`, `no_answer`, or what is wrong with it."""
    tries: Mapped[int] = mapped_column(server_default="0", default=0)
    """Since the bill was last read."""
    next_at: Mapped[datetime | None]
    """When the bill is fetched next."""
    review_at: Mapped[datetime | None]
    """When its open differences are looked at next."""
    started_at: Mapped[datetime | None]
    loaded_at: Mapped[datetime | None]
    """When the bill that is in the books was read in."""
    finished_at: Mapped[datetime | None]
    """When the day last came to its end, matched or closed."""
    created_at: Mapped[Now]
    __table_args__ = (
        UniqueConstraint("channel", "day"),
        Index("reconciliation_day_idx", "day", "id"),
        Index("reconciliation_due_idx", "next_at", postgresql_where=text("next_at is not null")),
        Index(
            "reconciliation_review_idx",
            "review_at",
            postgresql_where=text("review_at is not null"),
        ),
        Index(
            "reconciliation_unended_idx",
            "day",
            postgresql_where=text("state in ('waiting', 'differs')"),
        ),
    )


class BillRow(Base):
    """One line of a channel's bill. A payment has no `refund_id` and no `out_refund_no`."""

    __tablename__ = "bill_line"
    channel: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    """trade | refund"""
    transaction_id: Mapped[str] = mapped_column(primary_key=True)
    refund_id: Mapped[str] = mapped_column(primary_key=True)
    out_trade_no: Mapped[str]
    out_refund_no: Mapped[str]
    amount_fen: Mapped[Fen]
    state: Mapped[str]
    at: Mapped[Moment]
    __table_args__ = (
        Index(
            "bill_line_trade_idx",
            "channel",
            "transaction_id",
            postgresql_where=text("kind = 'trade'"),
        ),
        Index(
            "bill_line_refund_idx",
            "channel",
            "out_refund_no",
            postgresql_where=text("kind = 'refund'"),
        ),
    )


class DifferenceType(StrEnum):
    """What does not agree, seen from here."""

    AMOUNT_MISMATCH = "amount_mismatch"
    """The payment is in both, with another amount or number of ours."""
    LOCAL_NOT_PAID = "local_not_paid"
    """The bill has a payment of an attempt of ours, the books have not."""
    MISSING_LOCAL = "missing_local"
    """The bill has a payment under a number that nobody here knows."""
    MISSING_REMOTE = "missing_remote"
    """The books have a payment, no bill has."""
    REFUND_AMOUNT_MISMATCH = "refund_amount_mismatch"
    REFUND_LOCAL_NOT_DONE = "refund_local_not_done"
    """By the bill it took place, by the books not (yet)."""
    REFUND_MISSING_LOCAL = "refund_missing_local"
    """The bill has a refund under a number that nobody here knows."""
    REFUND_MISSING_REMOTE = "refund_missing_remote"
    """By the books it took place; no bill has it, or the bill says that it did not."""


class DifferenceState(StrEnum):
    OPEN = "open"
    REPAIRED = "repaired"
    SETTLED = "settled"


DIFFERENCE_TRANSITIONS: Transitions = {
    ("open", "repair"): ("repaired", None),
    ("open", "settle"): ("settled", None),
    # The bill or the books changed, and it vanished, came back, or is another one. A comparison
    # takes these edges for a whole day at once, see `comparison`.
    ("settled", "repair"): ("repaired", None),
    ("settled", "reopen"): ("open", PaymentReconciliationDifference),
    ("repaired", "recur"): ("open", PaymentReconciliationDifference),
}


class Difference(Base):
    """Something in which the bill of a day and the books do not agree."""

    __tablename__ = "difference"
    id: Mapped[str] = mapped_column(primary_key=True)
    reconciliation_id: Mapped[str] = mapped_column(ForeignKey("reconciliation.id"))
    type: Mapped[str]
    subject: Mapped[str]
    """`trade:` and the channel's number of the payment, or `refund:` and our refund number."""
    state: Mapped[str]
    version: Mapped[int]
    trade_no: Mapped[str | None]
    """Our number of the payment, as the bill or the attempt has it."""
    transaction_id: Mapped[str | None]
    order_id: Mapped[str | None]
    attempt_id: Mapped[str | None]
    charge_id: Mapped[str | None]
    refund_id: Mapped[str | None]
    """Our refund number, also one that only the bill knows."""
    bill_fen: Mapped[Fen | None]
    books_fen: Mapped[Fen | None]
    gap_fen: Mapped[Fen]
    """By how much the channel's account moved more than ours; what left counts as negative."""
    bill_state: Mapped[str | None]
    """The channel's word in the bill's line."""
    digest: Mapped[str]
    """Of the bill in which it was found."""
    finding: Mapped[str | None]
    """What asking the channel brought: see `repairs`."""
    outcome: Mapped[str | None]
    """How it ended: `bill_corrected`, `books_corrected`, `booked`, `confirmed`, `settled`."""
    ended_by: Mapped[str | None]
    note: Mapped[str | None]
    tries: Mapped[int] = mapped_column(server_default="0", default=0)
    next_at: Mapped[datetime | None]
    """When the channel is asked next. None: only another bill or a person ends it."""
    found_at: Mapped[Now]
    ended_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("reconciliation_id", "subject", "type"),
        Index("difference_page_idx", "reconciliation_id", "id"),
        Index("difference_open_idx", "type", "found_at", postgresql_where=text("state = 'open'")),
        Index(
            "difference_due_idx",
            "reconciliation_id",
            "next_at",
            postgresql_where=text("state = 'open' and next_at is not null"),
        ),
    )
