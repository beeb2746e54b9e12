"""Mandates as case-svc sees them: a copy fed by events, and the one count of their uses.

An agent opens and hands in cases in the principal's name. Each case that is handed in is one use:
counted here, under a lock on the mandate, and told to identity-svc.
"""

from sqlalchemy import ColumnElement, exists
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.case import CaseMandateUsed
from contracts.identity import MandateGranted
from kit.auth import Caller
from kit.clock import now
from kit.errors import Problem, Unavailable
from kit.outbox import emit

from .models import Case, Mandate, MandateUse


class MandateEnds(Problem):
    status, code = 403, "mandate_ends_here"
    title = ("委托不包括此事项", "The mandate does not go so far")


async def granted(session: AsyncSession, said: MandateGranted) -> None:
    """Keep the copy. What was revoked stays revoked, whatever is heard first."""
    row = insert(Mandate).values(
        id=said.mandate_id,
        principal_id=said.principal_id,
        agent_id=said.agent_id,
        item_codes=said.item_codes,
        valid_from=said.valid_from,
        valid_until=said.valid_until,
        max_uses=said.max_uses,
        revoked=False,
        uses=0,
    )
    await session.execute(row.on_conflict_do_nothing())


async def revoked(session: AsyncSession, mandate_id: str, principal_id: str) -> None:
    """The agent may touch nothing under it any more."""
    row = insert(Mandate).values(id=mandate_id, principal_id=principal_id, revoked=True, uses=0)
    await session.execute(
        row.on_conflict_do_update(index_elements=[Mandate.id], set_={"revoked": True})
    )


def stands(caller: Caller) -> ColumnElement[bool]:
    """The condition on Case under which the caller's mandate lets him at it."""
    at = now()
    return (Case.mandate_id == caller.mandate) & exists().where(
        Mandate.id == caller.mandate,
        Mandate.principal_id == caller.subject,
        Mandate.agent_id == caller.agent,
        Mandate.revoked.is_(False),
        Mandate.valid_from <= at,
        Mandate.valid_until > at,
    )


async def check(
    session: AsyncSession, caller: Caller, item_code: str, *, lock: bool = False
) -> Mandate | None:
    """The caller's mandate when a (further) case of this item may be handed in under it; None for
    a caller without one. Raises MandateEnds, and Unavailable while the news of it is on its way.
    """
    if caller.mandate is None:
        return None
    mandate = await session.get(
        Mandate, caller.mandate, with_for_update=lock, populate_existing=lock
    )
    if mandate is None:
        raise Unavailable(
            "委托刚刚生效,系统正在同步,请几秒后重试。",
            "The mandate is new here; try again in a few seconds.",
        )
    same = (mandate.principal_id, mandate.agent_id) == (caller.subject, caller.agent)
    if mandate.revoked or not same or mandate.valid_from is None or mandate.valid_until is None:
        raise MandateEnds("委托已被撤销。请联系委托人。", "The mandate was revoked.")
    if not mandate.valid_from <= now() < mandate.valid_until:
        raise MandateEnds("委托不在有效期内。请联系委托人。", "The mandate is not in its time.")
    if mandate.item_codes is not None and item_code not in mandate.item_codes:
        raise MandateEnds(
            "委托不包括此事项。请选择委托范围内的事项,或请委托人另行委托。",
            "This item is not among those of the mandate.",
        )
    if mandate.max_uses is not None and mandate.uses >= mandate.max_uses:
        raise MandateEnds(
            "委托的办理次数已用完。请委托人另行委托。",
            "As many matters were handed in under the mandate as it allows.",
        )
    return mandate


async def use(session: AsyncSession, caller: Caller, case: Case) -> None:
    """Count the (locked) case that is being handed in. Raises as `check` does."""
    mandate = await check(session, caller, case.item_code, lock=True)
    if mandate is None:
        return
    session.add(MandateUse(mandate_id=mandate.id, case_id=case.id, agent_id=mandate.agent_id))
    mandate.uses += 1
    told = CaseMandateUsed(mandate_id=mandate.id, case_id=case.id, uses=mandate.uses)
    emit(session, told, subject=mandate.id, version=mandate.uses)
