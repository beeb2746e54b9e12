"""Tables of who may act for whom: appointments at a firm, and mandates.

Somebody who is asked is named by name and telephone and kept as a keyed hash of both: nobody
learns from it who has an account, and only a person of whom both are true finds it.
"""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import String

from contracts.identity import (
    AgentAppointed,
    AgentRemoved,
    MandateGranted,
    MandateRevoked,
    MandateUsedUp,
)
from kit.db import Moment, Now
from kit.states import Transitions

from .base import Base

APPOINTMENT_TRANSITIONS: Transitions = {
    ("invited", "confirm"): ("active", AgentAppointed),
    ("invited", "refuse"): ("refused", None),
    ("invited", "remove"): ("removed", None),
    ("active", "remove"): ("removed", AgentRemoved),
    ("active", "replace"): ("replaced", None),
}
MANDATE_TRANSITIONS: Transitions = {
    ("requested", "confirm"): ("active", MandateGranted),
    ("requested", "refuse"): ("refused", None),
    ("requested", "revoke"): ("revoked", None),
    ("requested", "expire"): ("expired", None),
    ("active", "use_up"): ("used_up", MandateUsedUp),
    ("active", "revoke"): ("revoked", MandateRevoked),
    ("active", "expire"): ("expired", None),
    ("used_up", "revoke"): ("revoked", MandateRevoked),
    ("used_up", "expire"): ("expired", None),
}


class Appointment(Base):
    """A person who acts for a firm in all its matters."""

    __tablename__ = "appointment"
    id: Mapped[str] = mapped_column(primary_key=True)
    firm_id: Mapped[str] = mapped_column(ForeignKey("account.id"))
    person_id: Mapped[str | None] = mapped_column(ForeignKey("account.id"))
    """None until the person has answered."""
    person_index: Mapped[str | None]
    label: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Who was named, masked, for those who asked; sealed."""
    role: Mapped[str]
    """legal_representative | administrator (appoints, gives mandates) | agent"""
    state: Mapped[str]
    """invited → active → removed | replaced; refused"""
    version: Mapped[int] = mapped_column(default=1)
    appointed_by: Mapped[str | None]
    created_at: Mapped[Now]
    ended_at: Mapped[datetime | None]
    __table_args__ = (
        Index("appointment_firm_id_id_idx", "firm_id", "id"),
        Index("appointment_person_index_idx", "person_index"),
        Index(
            "appointment_person_id_firm_id_key",
            "person_id",
            "firm_id",
            unique=True,
            postgresql_where=text("state = 'active'"),
        ),
        Index(
            "appointment_representative_key",
            "firm_id",
            unique=True,
            postgresql_where=text("state = 'active' and role = 'legal_representative'"),
        ),
    )


class Mandate(Base):
    """Who may act for whom in which items, from when until when, how often (委托)."""

    __tablename__ = "mandate"
    id: Mapped[str] = mapped_column(primary_key=True)
    principal_id: Mapped[str | None] = mapped_column(ForeignKey("account.id"))
    principal_index: Mapped[str | None]
    agent_id: Mapped[str | None] = mapped_column(ForeignKey("account.id"))
    agent_index: Mapped[str | None]
    label: Mapped[bytes] = mapped_column(LargeBinary)
    """Who was named by the side that asked, masked; sealed."""
    asked_by: Mapped[str]
    """principal | agent: the other one confirms."""
    state: Mapped[str]
    """requested → active → used_up | expired | revoked; refused"""
    version: Mapped[int] = mapped_column(default=1)
    item_codes: Mapped[list[str] | None] = mapped_column(ARRAY(String()))
    """None: every item."""
    valid_from: Mapped[Moment]
    valid_until: Mapped[Moment]
    max_uses: Mapped[int | None]
    uses: Mapped[int] = mapped_column(default=0)
    """As case-svc told; it decides."""
    created_at: Mapped[Now]
    answered_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    __table_args__ = (
        CheckConstraint("valid_until > valid_from", name="time"),
        CheckConstraint("max_uses > 0", name="max_uses"),
        CheckConstraint(
            "principal_id is not null or principal_index is not null", name="principal"
        ),
        CheckConstraint("agent_id is not null or agent_index is not null", name="agent"),
        Index("mandate_principal_id_id_idx", "principal_id", "id"),
        Index("mandate_agent_id_id_idx", "agent_id", "id"),
        Index("mandate_principal_index_idx", "principal_index"),
        Index("mandate_agent_index_idx", "agent_index"),
        Index(
            "mandate_due_idx",
            "valid_until",
            postgresql_where=text("state in ('requested','active','used_up')"),
        ),
    )
