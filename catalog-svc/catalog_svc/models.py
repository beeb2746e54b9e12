"""Tables of the catalogue.

An item has versions; a version is frozen by the database from its publication on, and the times
in which versions of one item are in force never overlap (an exclusion constraint).
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from contracts.catalog import ItemPublished, ItemSuspended, ItemWithdrawn
from kit.db import Document, Moment, Now, ServiceBase, new_metadata
from kit.states import Transitions


class Base(ServiceBase):
    metadata = new_metadata()


class VersionState(StrEnum):
    DRAFT = "draft"
    IN_REVIEW = "in_review"
    PUBLISHED = "published"
    SUSPENDED = "suspended"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"


FROZEN = ("published", "suspended", "superseded", "withdrawn")
IN_FORCE = ("published", "suspended")

TRANSITIONS: Transitions = {
    ("draft", "submit"): ("in_review", None),
    ("draft", "discard"): ("withdrawn", None),
    ("in_review", "return"): ("draft", None),
    ("in_review", "publish"): ("published", ItemPublished),
    ("published", "supersede"): ("superseded", None),
    ("suspended", "supersede"): ("superseded", None),
    ("published", "suspend"): ("suspended", ItemSuspended),
    ("suspended", "resume"): ("published", ItemPublished),
    ("published", "withdraw"): ("withdrawn", ItemWithdrawn),
    ("suspended", "withdraw"): ("withdrawn", ItemWithdrawn),
}


class Department(Base):
    """A department of the city."""

    __tablename__ = "department"
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    uscc: Mapped[str] = mapped_column(unique=True)
    uscc_synthetic: Mapped[bool]


class Region(Base):
    """A district, by its code of GB/T 2260."""

    __tablename__ = "region"
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    parent: Mapped[str]


class MaterialDef(Base):
    """A material that several items ask for; the same paper has the same code everywhere."""

    __tablename__ = "material_def"
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    """certificate | form | other"""
    source: Mapped[str]
    """applicant | government | other"""
    licence_type: Mapped[str | None]
    """An electronic licence of this type replaces the material."""


class Item(Base):
    """A service item (事项). What it says is in its versions."""

    __tablename__ = "item"
    code: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer, Identity(), unique=True)
    """For the exclusion constraint: ranges are of numbers."""
    dept: Mapped[str] = mapped_column(ForeignKey(Department.code))
    version: Mapped[int] = mapped_column(default=1)
    """Counts what the public can see change: the ETag of the item."""


class ItemVersion(Base):
    """One version of an item; `content` is a contents.ItemContent with its materials resolved."""

    __tablename__ = "item_version"
    id: Mapped[str] = mapped_column(primary_key=True)
    item_code: Mapped[str] = mapped_column(ForeignKey(Item.code))
    item_number: Mapped[int]
    number: Mapped[int]
    state: Mapped[str]
    version: Mapped[int] = mapped_column(default=1)
    region: Mapped[str]
    dept: Mapped[str]
    content: Mapped[Document]
    valid_from: Mapped[datetime | None]
    valid_to: Mapped[datetime | None]
    edited_by: Mapped[str]
    published_by: Mapped[str | None]
    created_at: Mapped[Now]

    __table_args__ = (
        UniqueConstraint("item_code", "number"),
        CheckConstraint(
            "state = 'withdrawn' or (state in ('draft', 'in_review')) = (valid_from is null)",
            name="in_force_from",
        ),
        ExcludeConstraint(
            (text("int8range(item_number, item_number, '[]')"), "&&"),
            (text("tstzrange(valid_from, valid_to)"), "&&"),
            where=text("valid_from is not null"),
            using="gist",
            name="item_version_one_in_force",
        ),
        Index(
            "item_version_in_force_idx",
            "item_code",
            unique=True,
            postgresql_where=text("state in ('published', 'suspended')"),
        ),
        Index(
            "item_version_one_open_idx",
            "item_code",
            unique=True,
            postgresql_where=text("state in ('draft', 'in_review')"),
        ),
    )


class Package(Base):
    """One thing (一件事): several items that a life or business event needs, and their order."""

    __tablename__ = "package"
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    lead_dept: Mapped[str] = mapped_column(ForeignKey(Department.code))
    steps: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    source: Mapped[str]
    note: Mapped[str]


class SearchEntry(Base):
    """An item in force as search and lists see it; rewritten with every publication."""

    __tablename__ = "search_entry"
    code: Mapped[str] = mapped_column(ForeignKey(Item.code), primary_key=True)
    dept: Mapped[str] = mapped_column(index=True)
    kinds: Mapped[list[str]] = mapped_column(ARRAY(String))
    brief: Mapped[Document]
    """The answer of the list, ready to send."""
    size: Mapped[int]
    """Pairs of characters in the name: a short name that matches says more."""
    terms: Mapped[list[str]] = mapped_column(ARRAY(String))
    """The item's everyday terms, normalised."""
    words: Mapped[Any] = mapped_column(TSVECTOR)
    grams: Mapped[Any] = mapped_column(TSVECTOR)

    __table_args__ = (
        Index("search_entry_words_idx", "words", postgresql_using="gin"),
        Index("search_entry_grams_idx", "grams", postgresql_using="gin"),
    )


class Synonym(Base):
    """What people say (`term`, normalised) and the official words that it stands for."""

    __tablename__ = "synonym"
    term: Mapped[str] = mapped_column(primary_key=True)
    term_words: Mapped[list[str]] = mapped_column(ARRAY(String))
    means: Mapped[list[str]] = mapped_column(ARRAY(String))


class SearchMiss(Base):
    """How often a query found nothing. The query is a keyed hash; its text is kept only when
    so many asked the same that it cannot be about one person."""

    __tablename__ = "search_miss"
    digest: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    text: Mapped[str | None]
    first_at: Mapped[Now]
    last_at: Mapped[Moment] = mapped_column(server_default=func.now())
