"""Events owned by identity-svc."""

from datetime import datetime
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
    by: Literal["phone", "real_name"]


class AccountSuspended(Event):
    """An account may do nothing until it is restored."""

    TYPE: ClassVar[str] = "identity.account_suspended.v1"
    account_id: str


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
