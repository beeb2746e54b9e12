"""Requests and answers about firms, their agents, and mandates."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from kit.routing import In, Out

from . import identifiers

CreditCode = Annotated[str, Field(max_length=40), AfterValidator(identifiers.credit_code)]
FirmName = Annotated[str, Field(max_length=200), AfterValidator(identifiers.firm_name)]
PersonName = Annotated[str, Field(max_length=100), AfterValidator(identifiers.name)]
Phone = Annotated[str, Field(max_length=40), AfterValidator(identifiers.phone)]
ItemCode = Annotated[str, Field(pattern=r"^[A-Z]\d{2}$", examples=["A05"])]


class FirmClaim(In):
    """The caller says to be the legal representative; the register of enterprises is asked."""

    uscc: CreditCode
    """Unified social credit code, 18 characters (GB 32100)."""
    name: FirmName


class FirmView(Out):
    id: str
    """Put it into `act_for` of an authorization request to act for the firm."""
    name: str
    role: Literal["legal_representative"] = "legal_representative"


class Appointing(In):
    """A person, by name and telephone as they are proven on his account."""

    name: PersonName
    phone: Phone
    role: Literal["administrator", "agent"]
    """An administrator also appoints agents and gives mandates."""


class AppointmentView(Out):
    """`person` is masked."""

    id: str
    firm_id: str
    person_id: str | None
    person: str | None
    role: Literal["legal_representative", "administrator", "agent"]
    state: Literal["invited", "active", "refused", "removed", "replaced"]
    version: int
    created_at: datetime
    ended_at: datetime | None


class PartyIn(In):
    """A person by name and telephone, or a firm by its unified social credit code."""

    name: PersonName | None = None
    phone: Phone | None = None
    uscc: CreditCode | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "PartyIn":
        person = self.name is not None and self.phone is not None
        anything = self.name is not None or self.phone is not None
        if person == (self.uscc is not None) or (self.uscc is not None and anything):
            raise identifiers.Unfit(
                "请填写对方的姓名和手机号,或企业的统一社会信用代码。",
                "Give a person's name and phone, or a firm's unified social credit code.",
            )
        return self


class MandateAsked(In):
    """The side that asks names the other, who has to confirm."""

    side: Literal["principal", "agent"]
    """Which side the caller is on."""
    other: PartyIn
    item_codes: Annotated[list[ItemCode], Field(min_length=1, max_length=50)] | None = None
    """Items that may be handled; null: every item."""
    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime
    max_uses: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many matters may be handed in; null: any number."""


class MandateView(Out):
    """Names of persons are masked; of somebody who has not confirmed, only what was asked for."""

    id: str
    """Put it into `act_for` of an authorization request to act under it."""
    state: Literal["requested", "active", "used_up", "refused", "revoked", "expired"]
    side: Literal["principal", "agent"]
    asked_by: Literal["principal", "agent"]
    principal_id: str | None
    principal_name: str | None
    agent_id: str | None
    agent_name: str | None
    item_codes: list[str] | None
    valid_from: datetime
    valid_until: datetime
    max_uses: int | None
    uses: int
    created_at: datetime
    version: int


class Principal(Out):
    """Somebody for whom the caller may act."""

    act_for: str
    """A firm's account or a mandate; the parameter of an authorization request."""
    kind: Literal["enterprise", "person"]
    name: str
    role: Literal["legal_representative", "administrator", "agent", "mandate"]
    item_codes: list[str] | None
    valid_until: datetime | None


class Principals(Out):
    """`items`: for whom the caller may act now; `waiting`: what he is asked to confirm."""

    acting_for: str | None
    """For whom this very token acts; null: for the caller himself."""
    items: list[Principal]
    appointments_waiting: list["Waiting"]
    mandates_waiting: list[MandateView]


class Waiting(Out):
    """A firm asks the caller to act for it."""

    appointment_id: str
    firm_name: str
    role: str
