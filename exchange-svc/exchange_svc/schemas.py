"""Requests and answers of exchange-svc."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from kit.routing import In, Out


class FeedOut(Out):
    """Events in their lasting order. Ask again with `next`, also when it came empty."""

    events: list[dict[str, Any]]
    last: int
    """The cursor behind the last event of this answer (or the one that was sent)."""
    next: str


class PartnerIn(In):
    code: Annotated[str, Field(pattern=r"^[A-Z]{2,8}(-[a-z0-9]{1,20})?$", examples=["SAMR"])]
    name: Annotated[str, Field(min_length=2, max_length=60)]


class PartnerOut(Out):
    id: str
    code: str
    dept: str
    name: str
    state: Literal["registered", "connected", "suspended"]
    version: int
    durable: str
    created_at: datetime


class MatterOut(Out):
    case_id: str
    actor_id: str | None
    """Who handed it in in the applicant's name; null: himself."""
    item_code: str | None
    item_name: str | None
    state: str
    turn: str
    dept: str
    changed_at: datetime
