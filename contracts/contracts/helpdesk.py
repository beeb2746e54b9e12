"""Events owned by helpdesk-svc."""

from datetime import date
from typing import ClassVar

from .event import Event


class RatingInvited(Event):
    """The applicant may rate one handling, once (GB/T 39734-2020: one handling, one rating)."""

    TYPE: ClassVar[str] = "helpdesk.rating_invited.v1"
    rating_id: str
    case_id: str
    account_id: str
    due: date


class RatingSubmitted(Event):
    """A handling was rated 1 (very dissatisfied) to 5 (very satisfied); 1 and 2 are bad ratings."""

    TYPE: ClassVar[str] = "helpdesk.rating_submitted.v1"
    rating_id: str
    case_id: str
    score: int
