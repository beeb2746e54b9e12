"""Table of accounts that are to be closed."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Moment
from kit.states import Transitions

from .base import Base

CLOSING_TRANSITIONS: Transitions = {
    ("asked", "withdraw"): ("withdrawn", None),
    ("asked", "refuse"): ("refused", None),
    ("asked", "close"): ("done", None),
}
_ASKED = text("state = 'asked'")


class AccountClosing(Base):
    """Somebody wants an account closed; at most one at a time is asked for."""

    __tablename__ = "account_closing"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"))
    asked_by: Mapped[str]
    """The person, who may have asked for his firm."""
    state: Mapped[str]
    """asked | withdrawn | refused | done"""
    version: Mapped[int]
    asked_at: Mapped[Moment]
    closes_at: Mapped[Moment]
    ended_at: Mapped[datetime | None]
    matters: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    """Of a refusal: kinds and ids of what was open."""
    __table_args__ = (
        Index("account_closing_account_id_id_idx", "account_id", "id"),
        Index("account_closing_asked_key", "account_id", unique=True, postgresql_where=_ASKED),
        Index("account_closing_due_idx", "closes_at", postgresql_where=_ASKED),
    )
