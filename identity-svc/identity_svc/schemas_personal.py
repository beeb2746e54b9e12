"""Requests and answers about what we hold of a person: profile, tags."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from kit.routing import In, Out

Purpose = Literal["service_task", "prefill", "recommend", "export"]


class Source(Out):
    kind: Literal["licence", "case", "register", "self"]
    ref: str | None
    """Id of the licence or case."""
    dept: str | None


class FactOut(Out):
    """One thing that one source says of the caller."""

    id: str
    key: str
    name: str
    name_en: str
    value: str
    source: Source
    self_declared: bool
    purposes: list[Purpose]
    """What it may be read for."""
    state: Literal["valid", "suspended", "expired", "withdrawn"]
    obtained_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, view: dict[str, Any]) -> "FactOut":
        source = {"kind": view["source"], "ref": view["source_ref"], "dept": view["dept"]}
        return cls.model_validate({**view, "source": source})


class TagOut(Out):
    """What a rule concludes from a fact."""

    code: str
    name: str
    name_en: str
    basis: str
    fact: str
    """Key of the fact that it follows from."""
    self_declared: bool
    since: datetime
    expires_at: datetime | None


class ProfileOut(Out):
    facts: list[FactOut]
    tags: list[TagOut]


class Tags(Out):
    items: list[TagOut]


class Declaration(In):
    value: Annotated[str, Field(min_length=1, max_length=200)]


class ProfileFor(Out):
    """What may be read of an account for the purpose that was named."""

    id: str
    kind: str
    values: dict[str, str]
    """Key → value, of several sources the one that was told first."""
    facts: list[FactOut]
    tags: list[str]
