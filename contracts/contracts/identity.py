"""Events owned by identity-svc."""

from typing import ClassVar, Literal

from .event import Event


class AccountRegistered(Event):
    """An account exists from now on."""

    TYPE: ClassVar[str] = "identity.account_registered.v1"
    account_id: str
    kind: Literal["person", "enterprise", "staff"]
