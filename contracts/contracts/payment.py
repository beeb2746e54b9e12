"""Events owned by payment-svc. `subject` is the payment order's id. All amounts in fen."""

from datetime import datetime
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
