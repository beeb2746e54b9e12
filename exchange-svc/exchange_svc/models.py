"""Tables of exchange-svc: the feed of all events, partners, and what matters to whom."""

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from contracts.exchange import SystemConnected
from kit.db import APPEND_ONLY, Now, ServiceBase, new_metadata
from kit.states import Transitions

PARTNER_TRANSITIONS: Transitions = {
    ("registered", "connect"): ("connected", SystemConnected),
    ("connected", "suspend"): ("suspended", None),
    ("suspended", "connect"): ("connected", SystemConnected),
}


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


# So that a look at the database (to compare it with these models) knows the type as well.
ischema_names["xid8"] = TransactionId


class Base(ServiceBase):
    metadata = new_metadata()


class FeedEntry(Base):
    """One event of the platform, word for word.

    `seq` is given before the commit, so a row with a smaller one may still appear; `writer` lets
    a reader stop before the first transaction that is still open, and so miss none.
    """

    __tablename__ = "feed_entry"
    seq: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    event_id: Mapped[str] = mapped_column(unique=True)
    type: Mapped[str]
    subject: Mapped[str]
    region: Mapped[str]
    dept: Mapped[str]
    body: Mapped[str] = mapped_column(Text)
    writer: Mapped[int] = mapped_column(TransactionId, server_default=text("pg_current_xact_id()"))
    kept_at: Mapped[Now]
    __table_args__ = (
        Index(None, "dept", "seq"),
        Index(None, "subject", "seq"),
        Index(None, "kept_at"),
        {"info": APPEND_ONLY},
    )


class Partner(Base):
    """A department's system in the ledger of systems, and its durable consumer at the broker."""

    __tablename__ = "partner"
    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    version: Mapped[int]
    code: Mapped[str] = mapped_column(unique=True)
    """`SAMR`, or `SAMR-archive` for a second system of the department."""
    dept: Mapped[str]
    name: Mapped[str]
    durable: Mapped[str]
    created_at: Mapped[Now]


class Matter(Base):
    """A case as its applicant sees it in the list of all matters: where it stands, whose turn."""

    __tablename__ = "matter"
    case_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    actor_id: Mapped[str | None]
    """Who handed it in in the applicant's name; None: himself."""
    case_version: Mapped[int]
    item_code: Mapped[str | None]
    item_name: Mapped[str | None]
    state: Mapped[str]
    turn: Mapped[str]
    dept: Mapped[str]
    changed_at: Mapped[datetime]
    __table_args__ = (Index(None, "account_id", "changed_at", "case_id"),)
