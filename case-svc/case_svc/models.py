"""Tables of case-svc and the edges along which its states move."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from contracts.case import (
    CaseAccepted,
    CaseClosed,
    CaseCorrected,
    CaseCorrectionRequested,
    CaseDecided,
    CaseFeeDue,
    CaseNotAccepted,
    CaseSubmitted,
    CaseWithdrawn,
    TaskDecided,
)
from kit.db import APPEND_ONLY, Document, Now, Sealed, ServiceBase, new_metadata
from kit.seals.blocks import Trail, sealed
from kit.states import Transitions

CASE_TRANSITIONS: Transitions = {
    ("draft", "submit"): ("submitted", CaseSubmitted),
    ("submitted", "accept"): ("in_review", CaseAccepted),
    ("submitted", "refuse"): ("not_accepted", CaseNotAccepted),
    ("in_review", "request_correction"): ("correction_requested", CaseCorrectionRequested),
    ("correction_requested", "request_correction"): (
        "correction_requested",
        CaseCorrectionRequested,
    ),
    ("correction_requested", "correct"): ("in_review", CaseCorrected),
    ("in_review", "ask_fee"): ("fee_due", CaseFeeDue),
    ("in_review", "reviewed"): ("deciding", None),
    ("fee_due", "paid"): ("deciding", None),
    ("fee_due", "fee_lapsed"): ("withdrawn", CaseWithdrawn),
    ("deciding", "approve"): ("issuing", CaseDecided),
    ("deciding", "reject"): ("rejected", CaseDecided),
    ("rejected", "close"): ("closed", CaseClosed),
    ("issuing", "close"): ("closed", CaseClosed),
    ("issuing", "issued"): ("delivering", None),
    ("delivering", "close"): ("closed", CaseClosed),
    ("submitted", "withdraw"): ("withdrawn", CaseWithdrawn),
    ("in_review", "withdraw"): ("withdrawn", CaseWithdrawn),
    ("correction_requested", "withdraw"): ("withdrawn", CaseWithdrawn),
    ("fee_due", "withdraw"): ("withdrawn", CaseWithdrawn),
    ("deciding", "withdraw"): ("withdrawn", CaseWithdrawn),
}
TASK_TRANSITIONS: Transitions = {
    ("pending", "claim"): ("claimed", None),
    ("claimed", "approve"): ("approved", TaskDecided),
    ("claimed", "reject"): ("rejected", TaskDecided),
    ("pending", "drop"): ("dropped", None),
    ("claimed", "drop"): ("dropped", None),
}


class Base(ServiceBase):
    metadata = new_metadata()


class Case(Base):
    """One handling (办件): from draft to closed, with a frozen copy of its item."""

    __tablename__ = "case"
    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[str | None] = mapped_column(unique=True)
    """办件编号: code of the item, date, serial; given on submission."""
    state: Mapped[str]
    version: Mapped[int]
    region: Mapped[str]
    dept: Mapped[str]
    item_code: Mapped[str]
    item_name: Mapped[str]
    item: Mapped[Document]
    """The item as it was when the draft was opened."""
    applicant_id: Mapped[str]
    applicant_kind: Mapped[str]
    actor_id: Mapped[str | None]
    """Who opened it in the applicant's name; None: himself."""
    mandate_id: Mapped[str | None]
    """Under which mandate; None where the agent was appointed at the firm."""
    channel: Mapped[str]
    form: Mapped[Sealed]
    """JSON of the form's values, sealed."""
    delivery: Mapped[str]
    address_id: Mapped[str | None]
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
    submitted_at: Mapped[datetime | None]
    accepted_on: Mapped[date | None]
    decided_on: Mapped[date | None]
    outcome: Mapped[str | None]
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    payment_id: Mapped[str | None]
    licence_id: Mapped[str | None]
    timeline_head: Mapped[str] = mapped_column(server_default="")
    __table_args__ = (
        Index(None, "applicant_id", text("id desc")),
        Index(
            "case_mandate_id_id_idx",
            "mandate_id",
            text("id desc"),
            postgresql_where=text("mandate_id is not null"),
        ),
        Index("case_window_idx", "dept", "region", "state", "id"),
    )


class Mandate(Base):
    """A copy of what identity-svc tells, and how often it was used, which is decided here."""

    __tablename__ = "mandate"
    id: Mapped[str] = mapped_column(primary_key=True)
    principal_id: Mapped[str]
    agent_id: Mapped[str | None]
    """None, as the times, where it was revoked before it was heard of."""
    item_codes: Mapped[list[str] | None] = mapped_column(ARRAY(String()))
    """None: every item."""
    valid_from: Mapped[datetime | None]
    valid_until: Mapped[datetime | None]
    max_uses: Mapped[int | None]
    revoked: Mapped[bool]
    uses: Mapped[int]
    __table_args__ = (CheckConstraint("uses <= max_uses", "uses"),)


class MandateUse(Base):
    """A case that was handed in under a mandate."""

    __tablename__ = "mandate_use"
    mandate_id: Mapped[str] = mapped_column(ForeignKey("mandate.id"), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"), primary_key=True)
    agent_id: Mapped[str | None]
    at: Mapped[Now]
    __table_args__ = ({"info": APPEND_ONLY},)


class CaseNumber(Base):
    """The last serial given for an item (by its 31-character code) on a day."""

    __tablename__ = "case_number"
    task_code: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    last: Mapped[int]


class MaterialSlot(Base):
    """One material that the item asks for, and why it is (not) asked of this applicant."""

    __tablename__ = "material_slot"
    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"), index=True)
    position: Mapped[int]
    material_id: Mapped[str]
    name: Mapped[str]
    necessity: Mapped[str]
    """required | optional | deferrable"""
    licence_type: Mapped[str | None]
    state: Mapped[str]
    """needed | exempt | uploaded"""
    reason_code: Mapped[str | None]
    licence_id: Mapped[str | None]
    file_id: Mapped[str | None]


class File(Base):
    """An uploaded file; its content lies sealed under its digest."""

    __tablename__ = "file"
    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"), index=True)
    digest: Mapped[str]
    media_type: Mapped[str]
    size: Mapped[int]
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    uploaded_by: Mapped[str]
    uploaded_at: Mapped[Now]


class Task(Base):
    """What one department has to say about a case; departments work in parallel."""

    __tablename__ = "task"
    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"), index=True)
    state: Mapped[str]
    version: Mapped[int]
    region: Mapped[str]
    dept: Mapped[str]
    due: Mapped[date]
    claimed_by: Mapped[str | None]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    opinion: Mapped[str | None]
    created_at: Mapped[Now]
    __table_args__ = (
        Index("task_desk_idx", "dept", "region", "state", "due", "id"),
        Index(
            "task_open_idx",
            "dept",
            "due",
            postgresql_where=text("state in ('pending', 'claimed')"),
        ),
    )


class Correction(Base):
    """A request to the applicant to mend something (补正), told once and in full."""

    __tablename__ = "correction"
    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"), index=True)
    task_id: Mapped[str | None]
    dept: Mapped[str]
    kind: Mapped[str]
    """incorrect | incomplete | outdated"""
    what: Mapped[str]
    slots: Mapped[list[str]] = mapped_column(JSONB)
    due: Mapped[date]
    asked_by: Mapped[str]
    asked_at: Mapped[Now]
    answered_at: Mapped[datetime | None]


class Pause(Base):
    """A time in which the clock stood still, with its reason."""

    __tablename__ = "clock_pause"
    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"), index=True)
    started_on: Mapped[date]
    ended_on: Mapped[date | None]
    reason: Mapped[str]
    __table_args__ = (CheckConstraint("ended_on >= started_on", "order"),)


class TimelineEntry(Base):
    """What happened to a case; each entry carries the hash of the one before."""

    __tablename__ = "timeline_entry"
    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"))
    case_version: Mapped[int]
    at: Mapped[datetime]
    action: Mapped[str]
    from_state: Mapped[str]
    to_state: Mapped[str]
    actor: Mapped[str]
    principal: Mapped[str | None]
    """In whose name the actor did it; None: in his own, or the authority's."""
    dept: Mapped[str | None]
    note: Mapped[str | None]
    previous: Mapped[str]
    hash: Mapped[str]
    __table_args__ = (
        Index(None, "case_id", "id"),
        {"info": sealed(Trail("timeline_entry", prefix="tl"))},
    )
