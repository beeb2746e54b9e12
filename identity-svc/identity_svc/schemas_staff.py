"""Requests and answers about members of staff."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from kit.routing import In, Out
from kit.secrets import Vault, mask_name

from . import identifiers
from .models import Account, StaffMember
from .schemas import _new_password

Role = Literal["counter", "reviewer", "supervisor", "operator"]
Item = Annotated[str, Field(pattern="^[A-Z][A-Z0-9-]{1,19}$", examples=["A05"])]


class Rights(In):
    """What somebody may do where: each role holds for the department, region and items."""

    roles: Annotated[list[Role], Field(min_length=1, max_length=4)]
    dept: Annotated[str, Field(max_length=20, pattern="^[A-Z]+$", examples=["SAMR"])]
    region: Annotated[str, Field(pattern="^[0-9]{6}$", examples=["310115"])]
    """GB/T 2260; 310000 is the whole city with all its districts."""
    items: Annotated[list[Item], Field(min_length=1, max_length=200)] | None = None
    """Only these items; without it all of the department."""


class NewStaff(Rights):
    number: Annotated[str, Field(pattern="^[a-z][a-z0-9]{1,19}$", examples=["w0042"])]
    """What they sign in with."""
    name: Annotated[str, Field(max_length=100), AfterValidator(identifiers.name)]
    password: Annotated[SecretStr, Field(max_length=128), AfterValidator(_new_password)]


class StaffOut(Out):
    id: str
    number: str
    name: str
    """Masked."""
    roles: list[str]
    dept: str
    region: str
    items: list[str] | None
    state: Literal["active", "suspended", "closed"]
    version: int

    @classmethod
    def of(cls, vault: Vault, member: StaffMember, account: Account) -> "StaffOut":
        name = vault.open(account.name, bound_to=f"account|name|{account.id}")
        return cls(
            id=account.id,
            number=member.number,
            name=mask_name(name),
            roles=member.roles,
            dept=member.dept,
            region=member.region,
            items=member.items,
            state=account.state,
            version=account.version,
        )
