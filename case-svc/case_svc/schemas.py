"""Requests and answers of case-svc."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from contracts.case import Delivery
from kit.clock import Unit
from kit.routing import In, Out

Region = Annotated[str, Field(pattern=r"^\d{6}$", examples=["310115"])]
Reason = Annotated[str, Field(min_length=2, max_length=1000)]
ReasonCode = Annotated[str, Field(pattern=r"^[a-z_]{3,40}$", examples=["not_eligible"])]
CaseState = Literal[
    "draft",
    "submitted",
    "not_accepted",
    "in_review",
    "correction_requested",
    "fee_due",
    "deciding",
    "issuing",
    "delivering",
    "rejected",
    "withdrawn",
    "closed",
]
TaskState = Literal["pending", "claimed", "approved", "rejected", "dropped"]
SlotState = Literal["needed", "uploaded", "exempt"]
CaseChannel = Literal["app", "web", "counter", "phone"]
Value = str | int | float | bool | None


class DraftIn(In):
    item_code: Annotated[str, Field(pattern=r"^[A-Z]\d{2}$", examples=["A05"])]
    region: Region = "310115"
    channel: CaseChannel = "app"


class SaveIn(In):
    form: Annotated[dict[str, Value] | None, Field(max_length=100)] = None
    delivery: Delivery | None = None
    address_id: Annotated[str | None, Field(pattern=r"^addr_[0-9a-f]{32}$")] = None


class RefuseIn(In):
    reason_code: ReasonCode
    reason: Reason


class TaskDecisionIn(In):
    outcome: Literal["approved", "rejected"]
    opinion: Reason


class CorrectionIn(In):
    kind: Literal["incorrect", "incomplete", "outdated"]
    what: Reason
    slots: Annotated[list[str], Field(max_length=50, default_factory=list)]


class DecisionIn(In):
    outcome: Literal["approved", "rejected"]
    reason_code: ReasonCode | None = None
    reason: Reason | None = None


class SlotOut(Out):
    id: str
    material_id: str
    name: str
    necessity: Literal["required", "optional", "deferrable"]
    state: SlotState
    """`exempt`: the government holds it already, see `reason_code` and `licence_id`."""
    reason_code: str | None
    licence_id: str | None
    file_id: str | None


class CorrectionOut(Out):
    id: str
    dept: str
    kind: Literal["incorrect", "incomplete", "outdated"]
    what: str
    slots: list[str]
    due: date
    asked_at: datetime
    answered_at: datetime | None


class TaskOut(Out):
    id: str
    case_id: str
    dept: str
    state: TaskState
    version: int
    due: date
    claimed_by: str | None
    opinion: str | None
    decided_at: datetime | None


class CaseLine(Out):
    """A case in a list."""

    id: str
    number: str | None
    """办件编号, given when it is submitted."""
    state: CaseState
    item_code: str
    item_name: str
    dept: str
    region: str
    outcome: Literal["approved", "rejected", "not_accepted", "withdrawn"] | None
    applicant_id: str
    actor_id: str | None
    """Who opened it in the applicant's name; null: himself."""
    mandate_id: str | None
    created_at: datetime
    updated_at: datetime
    submitted_at: datetime | None


class CaseOut(CaseLine):
    """A case, whole: `turn` says who must act next."""

    version: int
    channel: CaseChannel
    turn: Literal["applicant", "authority", "nobody"]
    """Who must act next."""
    form: dict[str, Value]
    """What was typed and what was known already, by the fields of the item's form."""
    delivery: Delivery
    address_id: str | None
    materials: list[SlotOut]
    tasks: list[TaskOut]
    corrections: list[CorrectionOut]
    accepted_on: date | None
    decided_on: date | None
    reason_code: str | None
    reason: str | None
    payment_id: str | None
    licence_id: str | None


class TimelineLine(Out):
    id: str
    at: datetime
    action: str
    from_state: CaseState
    to_state: CaseState
    actor: str
    principal: str | None
    """In whose name, where the actor did not act in his own."""
    dept: str | None
    note: str | None
    hash: str


class TimelineOut(Out):
    entries: list[TimelineLine]
    head: str
    intact: bool


class ClockOut(Out):
    """The lawful clock, each limit in working days, or in natural days where the item's law counts
    those; with an explanation of every day."""

    state: Literal["not_started", "running", "paused", "stopped"]
    colour: Literal["green", "yellow", "red"] | None
    promised_days: int
    promised_unit: Unit
    statutory_days: int
    statutory_unit: Unit
    used_days: int
    """Of the promised limit."""
    statutory_used_days: int
    promised_due: date | None
    statutory_due: date | None
    provisional: bool
    days: list[dict[str, Any]]


class LicenceData(Out):
    fields: dict[str, Value]
    item_code: str
    applicant_id: str
