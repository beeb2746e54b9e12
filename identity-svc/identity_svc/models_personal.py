"""Tables of the profile (一人一档): what is known of an account, from whom, and what follows."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from contracts.identity import TagChanged
from kit.db import Moment, Now, Sealed
from kit.states import Transitions

from .base import Base, Texts

TAG_TRANSITIONS: Transitions = {
    ("held", "lose"): ("lost", TagChanged),
    ("lost", "gain"): ("held", TagChanged),
}


class ProfileFact(Base):
    """One thing that one source says of an account. The value lies sealed."""

    __tablename__ = "profile_fact"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"))
    key: Mapped[str]
    value: Mapped[Sealed]
    source: Mapped[str]
    """licence | case | register | self"""
    source_ref: Mapped[str]
    """Id of the licence or case; empty for the others."""
    dept: Mapped[str | None]
    """The department that said so."""
    purposes: Mapped[Texts]
    """What it may be read for."""
    state: Mapped[str]
    """valid | suspended | expired | withdrawn"""
    source_version: Mapped[int]
    """Version of the thing at its source: what is older changes nothing."""
    obtained_at: Mapped[Moment]
    expires_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    """When it has to be looked at again: it expires, or a tag begins or ends by age."""
    created_at: Mapped[Now]
    __table_args__ = (
        UniqueConstraint("account_id", "key", "source", "source_ref"),
        CheckConstraint("state in ('valid','suspended','expired','withdrawn')", name="state"),
        Index("profile_fact_due_idx", "due_at", postgresql_where=text("due_at is not null")),
    )


class ProfileTag(Base):
    """What a rule concludes from the facts; kept when it is lost, so that its versions go on."""

    __tablename__ = "profile_tag"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"))
    code: Mapped[str]
    state: Mapped[str]
    """held | lost"""
    version: Mapped[int]
    fact_id: Mapped[str]
    """The fact that it follows from."""
    since: Mapped[Moment]
    expires_at: Mapped[datetime | None]
    __table_args__ = (UniqueConstraint("account_id", "code"),)
