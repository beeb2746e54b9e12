"""Events owned by identity-svc."""

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
