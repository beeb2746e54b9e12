"""Requests and answers about the correction of facts."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from kit.routing import In, Out

from .schemas_agency import ItemCode

Text = Annotated[str, Field(min_length=1, max_length=500, examples=["登记有误,见户口簿。"])]
Value = Annotated[str, Field(min_length=1, max_length=200, examples=["1990-03-08"])]


class CorrectionAsked(In):
    """Say that a fact of one's own is wrong."""

    fact_id: Annotated[
        str,
        Field(pattern=r"^fact_[0-9a-f]{32}$", examples=["fact_019920c47a1e7cc29d425b6f0e9d6c4c"]),
    ]
    wanted: Value
    """What it should say."""
    reason: Text


class CorrectionAccepted(In):
    value: Value | None = None
    """What the fact says from now on; what was asked for when left out."""
    answer: Text


class CorrectionRefused(In):
    answer: Text
    item_code: ItemCode | None = None
    """The item to apply for instead, where a licence or case has to be changed."""


class CorrectionLine(Out):
    """A request on the desk of a department, without anything personal."""

    id: str
    fact_id: str
    key: str
    name: str
    name_en: str
    source: Literal["licence", "case", "register"]
    dept: str
    state: Literal["requested", "accepted", "refused", "withdrawn"]
    version: int
    asked_at: datetime
    due: date
    """Last day on which the department decides: 15 working days."""
    overdue: bool
    decided_at: datetime | None
    item_code: str | None


class CorrectionOut(CorrectionLine):
    present: str | None
    """What the fact says now; null when it is no longer there."""
    wanted: str
    reason: str
    answer: str | None
