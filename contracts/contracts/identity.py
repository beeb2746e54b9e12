"""Events owned by identity-svc."""

from datetime import date, datetime
from typing import ClassVar, Literal

from .event import Event


class AccountRegistered(Event):
    """An account exists from now on."""

    TYPE: ClassVar[str] = "identity.account_registered.v1"
    account_id: str
    kind: Literal["person", "enterprise", "staff"]


class AccountVerified(Event):
    """More is proven of an account than before: its level rose."""

    TYPE: ClassVar[str] = "identity.account_verified.v1"
    account_id: str
    level: Literal["L1", "L2", "L3", "L4"]
    by: Literal["phone", "real_name", "in_person"]


class AccountSuspended(Event):
    """An account may do nothing until it is restored."""

    TYPE: ClassVar[str] = "identity.account_suspended.v1"
    account_id: str


class AccountClosed(Event):
    """An account was closed and what was personal in it is erased. Whoever keeps something of it
    that no law asks to keep erases it, too."""

    TYPE: ClassVar[str] = "identity.account_closed.v1"
    account_id: str


class FirmClaimed(Event):
    """A firm has this legal representative, as the register of enterprises says."""

    TYPE: ClassVar[str] = "identity.firm_claimed.v1"
    firm_id: str
    representative_id: str
    previous_id: str | None
    """Who was it before and may do nothing for the firm any more."""


class AgentAppointed(Event):
    """A person agreed to act for a firm."""

    TYPE: ClassVar[str] = "identity.agent_appointed.v1"
    appointment_id: str
    firm_id: str
    person_id: str
    role: Literal["administrator", "agent"]


class AgentRemoved(Event):
    """A person acts for a firm no more."""

    TYPE: ClassVar[str] = "identity.agent_removed.v1"
    appointment_id: str
    firm_id: str
    person_id: str


class MandateGranted(Event):
    """Both sides agreed: the agent may act for the principal, within these bounds. What is said
    here never changes; the mandate ends by its time or by being revoked."""

    TYPE: ClassVar[str] = "identity.mandate_granted.v1"
    mandate_id: str
    principal_id: str
    agent_id: str
    item_codes: list[str] | None
    """None: every item."""
    valid_from: datetime
    valid_until: datetime
    max_uses: int | None
    """How many matters may be handed in under it; None: any number."""


class MandateRevoked(Event):
    """The agent may do nothing under this mandate any more."""

    TYPE: ClassVar[str] = "identity.mandate_revoked.v1"
    mandate_id: str
    principal_id: str
    agent_id: str | None


class MandateUsedUp(Event):
    """As many matters were handed in under it as it allows: no new ones; those may be finished."""

    TYPE: ClassVar[str] = "identity.mandate_used_up.v1"
    mandate_id: str
    principal_id: str
    agent_id: str


class SessionRevoked(Event):
    """Access tokens that were issued until a moment are good for nothing any more: one token, a
    family (all tokens of one sign-in in one application), all of an account, or all that a key
    signed."""

    TYPE: ClassVar[str] = "identity.session_revoked.v1"
    what: Literal["token", "family", "account", "key"]
    ref: str
    """`jti` of a token, its part before the dot for a family, the account's id, a key's `kid`."""
    until: datetime
    """Of an account: tokens issued later are good."""


class TagChanged(Event):
    """What follows from an account's profile changed: it has this tag now, or no longer."""

    TYPE: ClassVar[str] = "identity.tag_changed.v1"
    account_id: str
    tag: str
    held: bool


class _FactCorrection(Event):
    """About a correction that somebody asked for; `subject` is the correction."""

    correction_id: str
    account_id: str
    fact: str
    """Key of the fact: birth_date, licence.LT-BIZ …"""


class FactCorrectionRequested(_FactCorrection):
    """A person says that a fact of the profile is wrong; the event's department decides."""

    TYPE: ClassVar[str] = "identity.fact_correction_requested.v1"
    due: date


class FactCorrected(_FactCorrection):
    """The department agreed: the fact says something else from now on."""

    TYPE: ClassVar[str] = "identity.fact_corrected.v1"


class FactCorrectionRefused(_FactCorrection):
    """The department refused."""

    TYPE: ClassVar[str] = "identity.fact_correction_refused.v1"
    item_code: str | None
    """The item to apply for instead."""


class FactCorrectionWithdrawn(_FactCorrection):
    """The person took it back."""

    TYPE: ClassVar[str] = "identity.fact_correction_withdrawn.v1"


class ConsentGranted(Event):
    """A person lets an application of others learn something. `subject` is the grant itself."""

    TYPE: ClassVar[str] = "identity.consent_granted.v1"
    account_id: str
    client_id: str
    scopes: list[str]


class ConsentWithdrawn(Event):
    """A person took back what an application of others might learn; its tokens are refused."""

    TYPE: ClassVar[str] = "identity.consent_withdrawn.v1"
    account_id: str
    client_id: str
