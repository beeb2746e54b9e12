"""Requests and answers of catalog-svc."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from kit.clock import DayKind
from kit.routing import In, Out

from .contents import Code, ItemContent, Kind, Name, Unit

VersionStates = Literal["draft", "in_review", "published", "suspended", "superseded", "withdrawn"]


class ItemBrief(Out):
    """An item in a list."""

    code: str
    version: int
    name: str
    dept: str
    dept_name: str
    applicant_kinds: list[Kind]
    everyday_terms: list[str]
    promise_days: int
    promise_unit: Unit
    visits: int
    online_depth: str
    fee_fen: int
    """0: free of charge, or the tariff is only described (`fee_note`)."""


class ItemDetail(ItemContent):
    """A frozen version of an item, all by itself: what may be handled, by whom, with what."""

    code: str
    version: int
    """Number of the version; a case keeps it."""
    state: Literal["published", "suspended", "superseded", "withdrawn"]
    """`suspended`: in force, but no new cases are taken."""
    dept: str
    dept_name: str
    region_scope: str
    valid_from: datetime
    valid_to: datetime | None
    applicant_kinds: list[Kind]
    task_type_text: str


class VersionBrief(Out):
    """A version that is or was in force."""

    number: int
    state: VersionStates
    valid_from: datetime
    valid_to: datetime | None


class Versions(Out):
    """The versions of an item, newest first."""

    items: list[VersionBrief]


class RegionOut(Out):
    code: str
    name: str
    parent: str


class Regions(Out):
    """The districts of the city."""

    items: list[RegionOut]


class Step(Out):
    item: str
    after: list[str]
    optional: bool


class PackageOut(Out):
    """One thing (一件事): its items and which of them come before which."""

    code: str
    name: str
    lead_dept: str
    steps: list[Step]
    source: str
    note: str


class Packages(Out):
    """All packages."""

    items: list[PackageOut]


class SpecialDay(Out):
    """A day that is not what its weekday says."""

    day: date
    kind: DayKind
    name: str


class CalendarOut(Out):
    """The working days of a year. `estimated` until the State Council announces its holidays."""

    year: int
    status: Literal["official", "estimated"]
    working_days: int
    special_days: list[SpecialDay]


class NewItem(In):
    """A new item and the content of its first draft."""

    code: Code
    dept: Code
    content: ItemContent


class Edit(In):
    """The parts of the content to change; what is not named stays."""

    content: Annotated[dict[str, Any], Field(max_length=60)]


class DraftOut(Out):
    """A version before publication."""

    model_config = ConfigDict(from_attributes=True)

    item_code: str
    number: int
    state: VersionStates
    dept: str
    edited_by: str
    content: dict[str, Any]


class VersionState(Out):
    """Where a version stands after an action."""

    item_code: str
    number: int
    state: VersionStates


class Means(In):
    """The official words that a term stands for."""

    means: Annotated[list[Name], Field(min_length=1, max_length=20)]


class SynonymOut(Out):
    term: str
    means: list[str]


class SearchMissOut(Out):
    text: str
    count: int
    last_at: datetime


class SearchMisses(Out):
    """Queries that found nothing, asked so often that they tell of nobody."""

    items: list[SearchMissOut]
