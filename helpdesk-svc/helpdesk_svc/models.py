"""Tables of helpdesk-svc and the ways that their states move."""

from datetime import date

from sqlalchemy import CheckConstraint, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from contracts.helpdesk import RatingSubmitted
from kit.db import Moment, Now, ServiceBase, new_metadata
from kit.states import Transitions

RATING: Transitions = {
    ("invited", "submit"): ("rated", RatingSubmitted),
    ("invited", "lapse"): ("lapsed", None),
}


class Base(ServiceBase):
    metadata = new_metadata()


class Rating(Base):
    """The one rating of one handling (GB/T 39734: 一事一评)."""

    __tablename__ = "rating"
    id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(default=1)
    state: Mapped[str] = mapped_column(default="invited")
    case_id: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[str]
    item_code: Mapped[str]
    item_name: Mapped[str]
    channel: Mapped[str]
    outcome: Mapped[str]
    region: Mapped[str]
    dept: Mapped[str]
    due: Mapped[date]
    """Last day in Beijing on which it can be given."""
    score: Mapped[int | None]
    reasons: Mapped[list[str]] = mapped_column(JSONB, default=list)
    indicators: Mapped[dict[str, int]] = mapped_column(JSONB, default=dict)
    comment: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Free text, sealed: people write names and numbers into it."""
    rated_at: Mapped[Moment | None]
    invited_at: Mapped[Now]
    __table_args__ = (
        CheckConstraint("score between 1 and 5", name="score"),
        CheckConstraint("(state = 'rated') = (score is not null)", name="rated"),
        Index("rating_account_id_id_idx", "account_id", "invited_at", "id"),
        Index(
            "rating_received_idx",
            "dept",
            "region",
            "rated_at",
            "id",
            postgresql_where=text("state = 'rated'"),
        ),
        Index("rating_due_idx", "due", postgresql_where=text("state = 'invited'")),
    )


class RatingPolicy(Base):
    """How many working days a region gives for ratings; region `_` is the whole city."""

    __tablename__ = "rating_policy"
    region: Mapped[str] = mapped_column(primary_key=True)
    working_days: Mapped[int]
    changed_by: Mapped[str]
    __table_args__ = (CheckConstraint("working_days between 1 and 250", name="working_days"),)
