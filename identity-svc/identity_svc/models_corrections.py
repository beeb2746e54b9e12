"""Table of corrections that people ask for."""

from datetime import date, datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from contracts.identity import FactCorrected, FactCorrectionRefused, FactCorrectionWithdrawn
from kit.db import Moment, Sealed
from kit.states import Transitions

from .base import Base

CORRECTION_TRANSITIONS: Transitions = {
    ("requested", "accept"): ("accepted", FactCorrected),
    ("requested", "refuse"): ("refused", FactCorrectionRefused),
    ("requested", "withdraw"): ("withdrawn", FactCorrectionWithdrawn),
}


class FactCorrection(Base):
    """Somebody says that a fact of his profile is wrong; its source decides."""

    __tablename__ = "fact_correction"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"))
    fact_id: Mapped[str]
    key: Mapped[str]
    source: Mapped[str]
    """licence | case | register"""
    source_ref: Mapped[str]
    dept: Mapped[str]
    """The department that decides."""
    state: Mapped[str]
    """requested | accepted | refused | withdrawn"""
    version: Mapped[int]
    wanted: Mapped[Sealed]
    """What it should say."""
    reason: Mapped[Sealed]
    asked_at: Mapped[Moment]
    due: Mapped[date]
    """Last day in Beijing on which the department decides."""
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    answer: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The department's reasons, sealed."""
    item_code: Mapped[str | None]
    """Of a refusal: the item to apply for instead."""
    __table_args__ = (
        Index("fact_correction_account_id_id_idx", "account_id", "id"),
        Index(
            "fact_correction_requested_key",
            "fact_id",
            unique=True,
            postgresql_where=text("state = 'requested'"),
        ),
        Index("fact_correction_desk_idx", "dept", "state", "id"),
    )
