"""Events owned by licence-svc."""

from datetime import date
from typing import ClassVar

from .case import Delivery
from .event import Event


class LicenceIssued(Event):
    """A licence exists, is signed and can be shown."""

    TYPE: ClassVar[str] = "licence.issued.v1"
    licence_id: str
    licence_type: str
    holder_id: str
    case_id: str | None
    item_code: str | None
    valid_from: date
    valid_until: date | None
    """None means long-term (长期)."""
    delivery: Delivery = "none"
    address_id: str | None = None


class PresentationUsed(Event):
    """A holder showed a licence and a verifier accepted it."""

    TYPE: ClassVar[str] = "licence.presentation_used.v1"
    presentation_id: str
    licence_id: str
    holder_id: str
