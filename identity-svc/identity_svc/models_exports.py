"""Tables of exports: who asked for a copy of their data, and what was gathered, sealed."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kit.db import Moment, Sealed
from kit.states import Transitions

from .base import Base

EXPORT_TRANSITIONS: Transitions = {
    ("gathering", "finish"): ("ready", None),
    ("ready", "expire"): ("expired", None),
}


class DataExport(Base):
    """A copy of what is held of an account; at most one at a time is gathered."""

    __tablename__ = "data_export"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"))
    state: Mapped[str]
    """gathering | ready | expired"""
    version: Mapped[int]
    asked_at: Mapped[Moment]
    due_at: Mapped[Moment]
    """When it is worked on next; of a ready one, when it is deleted."""
    tries: Mapped[int]
    ready_at: Mapped[datetime | None]
    __table_args__ = (
        Index("data_export_account_id_id_idx", "account_id", "id"),
        Index(
            "data_export_gathering_key",
            "account_id",
            unique=True,
            postgresql_where=text("state = 'gathering'"),
        ),
        Index(
            "data_export_due_idx",
            "state",
            "due_at",
            postgresql_where=text("state in ('gathering','ready')"),
        ),
    )


class ExportSource(Base):
    """How far one service has told what it holds."""

    __tablename__ = "export_source"
    export_id: Mapped[str] = mapped_column(
        ForeignKey("data_export.id", ondelete="CASCADE"), primary_key=True
    )
    source: Mapped[str] = mapped_column(primary_key=True)
    done: Mapped[bool]
    cursor: Mapped[str | None]
    """Where it goes on."""
    pages: Mapped[int]


class ExportPage(Base):
    """Some records of one part: a JSON array, sealed."""

    __tablename__ = "export_page"
    export_id: Mapped[str] = mapped_column(
        ForeignKey("data_export.id", ondelete="CASCADE"), primary_key=True
    )
    source: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    part: Mapped[str]
    title: Mapped[str]
    title_en: Mapped[str]
    records: Mapped[int]
    content: Mapped[Sealed]
