"""Events owned by payment-svc. `subject` is the payment order's id unless told otherwise. All
amounts in fen."""

from datetime import date, datetime
from typing import ClassVar

from .event import Event


class PaymentCreated(Event):
    """A fee can be paid from now on."""

    TYPE: ClassVar[str] = "payment.created.v1"
    payment_id: str
    case_id: str
    payer_id: str
    amount_fen: int
    expires_at: datetime


class PaymentPaid(Event):
    """The money is there and booked."""

    TYPE: ClassVar[str] = "payment.paid.v1"
    payment_id: str
    case_id: str
    payer_id: str
    amount_fen: int
    channel: str
    paid_at: datetime


class PaymentExpired(Event):
    """Nobody paid in time; the channel was asked and the order closed there too."""

    TYPE: ClassVar[str] = "payment.expired.v1"
    payment_id: str
    case_id: str


class PaymentCancelled(Event):
    """The fee is no longer due."""

    TYPE: ClassVar[str] = "payment.cancelled.v1"
    payment_id: str
    case_id: str


class PaymentRefunded(Event):
    """Money went back to the payer and the channel confirmed it."""

    TYPE: ClassVar[str] = "payment.refunded.v1"
    payment_id: str
    refund_id: str
    case_id: str
    payer_id: str
    amount_fen: int


class PaymentReconciliationDifference(Event):
    """A channel's bill of a day and our books do not agree in one thing. `subject` is the
    difference. Told when it is found and when it is opened again; `bill_fen` and `books_fen` are
    what either side has, null where it has nothing."""

    TYPE: ClassVar[str] = "payment.reconciliation_difference.v1"
    difference_id: str
    reconciliation_id: str
    channel: str
    day: date
    type: str
    bill_fen: int | None
    books_fen: int | None
    payment_id: str | None
    """The payment order, when one is known."""


class PaymentReconciliationClosed(Event):
    """A day of a channel is closed: its bill and our books agree to the fen, but for what persons
    have settled (`settled_fen`). `subject` is the reconciliation."""

    TYPE: ClassVar[str] = "payment.reconciliation_closed.v1"
    reconciliation_id: str
    channel: str
    day: date
    moved_fen: int
    booked_fen: int
    settled_fen: int
