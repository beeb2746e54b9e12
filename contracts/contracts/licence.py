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


class _Licence(Event):
    """`subject` is the licence's id, its version counts on from `licence.issued`."""

    licence_id: str
    licence_type: str
    holder_id: str


class LicenceSuspended(_Licence):
    """The issuer stopped a licence; it may come back."""

    TYPE: ClassVar[str] = "licence.suspended.v1"


class LicenceResumed(_Licence):
    """A suspended licence is in force again."""

    TYPE: ClassVar[str] = "licence.resumed.v1"


class LicenceRevoked(_Licence):
    """The issuer took a licence away for good."""

    TYPE: ClassVar[str] = "licence.revoked.v1"


class LicenceReplaced(_Licence):
    """A newer licence of the same type took this one's place."""

    TYPE: ClassVar[str] = "licence.replaced.v1"


class LicenceExpired(_Licence):
    """A licence's last day is over."""

    TYPE: ClassVar[str] = "licence.expired.v1"


class PresentationUsed(Event):
    """A holder showed a licence and a verifier accepted it."""

    TYPE: ClassVar[str] = "licence.presentation_used.v1"
    presentation_id: str
    licence_id: str
    holder_id: str
