"""Acting for somebody: whether a person may, and what their tokens then say.

A token of an agent is about the principal (`sub`) and names the person (`act.sub`); under a
mandate it carries `mandate`, and services look at its scope. These functions run inside
Authlib's synchronous core, on its plain session.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from kit.clock import now

from . import families, tokens
from .models import Account, Client, RefreshFamily, StaffMember
from .models_agency import Appointment, Mandate

SELF, CHOOSE = "self", "choose"
USABLE = ("active", "used_up")
Wish = Literal["self", "choose", "granted", "denied"]


@dataclass(frozen=True)
class Acting:
    """A person may act for this account."""

    principal: Account
    mandate: Mandate | None

    def ends(self) -> datetime | None:
        return self.mandate.valid_until if self.mandate else None


def find(session: Session, person_id: str, act_for: str) -> Acting | None:
    """What lets the person act for a firm (its account) or under a mandate (its id), now."""
    actor = session.get(Account, person_id)
    if actor is None or actor.state != "active":
        return None
    mandate = session.get(Mandate, act_for)
    if mandate is not None:
        at = now()
        usable = mandate.state in USABLE and mandate.valid_from <= at < mandate.valid_until
        if mandate.agent_id != person_id or not usable:
            return None
        principal_id = mandate.principal_id
    else:
        active = select(Appointment.firm_id).where(
            Appointment.firm_id == act_for,
            Appointment.person_id == person_id,
            Appointment.state == "active",
        )
        principal_id = session.scalar(active)
    principal = session.get(Account, principal_id) if principal_id else None
    if principal is None or principal.state != "active":
        return None
    return Acting(principal, mandate)


def wish(session: Session, client: Client, person_id: str, act_for: str | None) -> Wish:
    """What an authorization request asks for by `act_for`, and whether it may be had."""
    if act_for in (None, "", SELF):
        return "self"
    if client.third_party:  # others' applications know the person alone
        return "denied"
    if act_for == CHOOSE:
        return "choose"
    return "granted" if find(session, person_id, str(act_for)) is not None else "denied"


def start(session: Session, family: RefreshFamily, act_for: str) -> Account | None:
    """Let a new family be one of an agent; the principal, or None when it may not be any more."""
    person_id = family.account_id
    found = find(session, person_id, act_for)
    if found is None:
        return None
    family.account_id, family.actor_id = found.principal.id, person_id
    family.mandate_id = found.mandate.id if found.mandate else None
    return found.principal


def still(session: Session, family: RefreshFamily) -> bool:
    """Whether a family of an agent still stands; others do."""
    if family.actor_id is None:
        return True
    return find(session, family.actor_id, family.mandate_id or family.account_id) is not None


def claims(
    session: Session, principal: Account, family: RefreshFamily, acr: str, seconds: int
) -> tuple[dict[str, Any], int]:
    """Who the caller is, and for how many seconds at most: not beyond the mandate."""
    said = tokens.of_account(principal, None, family, acr)
    assert family.actor_id is not None
    actor = session.get_one(Account, family.actor_id)
    member = session.get(StaffMember, actor.id)
    said["act"] = {"sub": actor.id, "kind": actor.kind, **({"dept": member.dept} if member else {})}
    if family.mandate_id is not None:
        said["mandate"] = family.mandate_id
        ends = session.get_one(Mandate, family.mandate_id).valid_until
        seconds = max(1, min(seconds, int((ends - now()).total_seconds())))
    return said, seconds


async def end(
    session: AsyncSession,
    *,
    mandate_id: str | None = None,
    firm_id: str | None = None,
    person_id: str | None = None,
) -> None:
    """End the tokens under a mandate, or those of a person for a firm, everywhere at once."""
    query = update(RefreshFamily).where(RefreshFamily.state == "active")
    if mandate_id is not None:
        query = query.where(RefreshFamily.mandate_id == mandate_id)
    else:
        query = query.where(
            RefreshFamily.actor_id == person_id,
            RefreshFamily.account_id == firm_id,
            RefreshFamily.mandate_id.is_(None),
        )
    ended = {"state": "revoked", "reason": "acts_no_more", "version": RefreshFamily.version + 1}
    for family_id in await session.scalars(query.values(ended).returning(RefreshFamily.id)):
        families.tell(session, "family", family_id)
