"""Events owned by case-svc. `subject` is the case id, for tasks the task id."""

from datetime import date
from typing import ClassVar, Literal

from .event import Event

Outcome = Literal["approved", "rejected"]
Delivery = Literal["none", "courier", "counter"]


class CaseSubmitted(Event):
    """An applicant handed in a case; somebody must look at it."""

    TYPE: ClassVar[str] = "case.submitted.v1"
    case_id: str
    item_code: str
    item_version: int
    item_name: str
    applicant_id: str
    channel: str


class CaseMandateUsed(Event):
    """A case was handed in under a mandate. `subject` is the mandate's id."""

    TYPE: ClassVar[str] = "case.mandate_used.v1"
    mandate_id: str
    case_id: str
    uses: int
    """How many were handed in under it until now, this one included."""


class CaseAccepted(Event):
    """The case is complete and the clock runs."""

    TYPE: ClassVar[str] = "case.accepted.v1"
    case_id: str
    item_code: str
    applicant_id: str
    promised_due: date
    statutory_due: date


class CaseNotAccepted(Event):
    """The case was refused at the door; the reason is told to the applicant."""

    TYPE: ClassVar[str] = "case.not_accepted.v1"
    case_id: str
    applicant_id: str
    reason_code: str


class CaseCorrectionRequested(Event):
    """Something is missing; it is the applicant's turn and the clock stands still."""

    TYPE: ClassVar[str] = "case.correction_requested.v1"
    case_id: str
    applicant_id: str
    correction_id: str
    task_id: str | None
    asked_by_dept: str
    due: date


class CaseCorrected(Event):
    """The applicant answered the correction; the clock runs again."""

    TYPE: ClassVar[str] = "case.corrected.v1"
    case_id: str
    applicant_id: str
    correction_id: str


class CaseFeeDue(Event):
    """All departments agree and a fee must be paid before the decision."""

    TYPE: ClassVar[str] = "case.fee_due.v1"
    case_id: str
    applicant_id: str
    item_code: str
    item_name: str
    fee_code: str
    amount_fen: int


class CaseDecided(Event):
    """The authority decided. Approved cases wait for their licence; rejected ones are closed."""

    TYPE: ClassVar[str] = "case.decided.v1"
    case_id: str
    applicant_id: str
    item_code: str
    outcome: Outcome
    reason_code: str | None = None
    licence_type: str | None = None
    licence_years: int | None = None
    """Years of validity; None means long-term (长期)."""
    delivery: Delivery = "none"
    address_id: str | None = None
    """An entry of the applicant's address book in logistics-svc."""


class CaseWithdrawn(Event):
    """The applicant took the case back; what was paid is refunded."""

    TYPE: ClassVar[str] = "case.withdrawn.v1"
    case_id: str
    applicant_id: str


class CaseClosed(Event):
    """Nothing is left to do; the handling can be rated."""

    TYPE: ClassVar[str] = "case.closed.v1"
    case_id: str
    applicant_id: str
    item_code: str
    item_name: str
    channel: str
    outcome: Outcome | Literal["withdrawn"]


class TaskAssigned(Event):
    """A department has a part of a case to review."""

    TYPE: ClassVar[str] = "case.task_assigned.v1"
    task_id: str
    case_id: str
    item_code: str
    due: date


class TaskDecided(Event):
    """A department said its part."""

    TYPE: ClassVar[str] = "case.task_decided.v1"
    task_id: str
    case_id: str
    outcome: Outcome
