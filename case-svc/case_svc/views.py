"""A case as a person sees it: everything of one case in a handful of queries."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from kit.lookups import Reader
from kit.secrets import Vault

from . import forms, materials, reviews
from .models import Case, Correction, MaterialSlot, Task
from .schemas import CaseLine, CaseOut, CorrectionOut, SlotOut, TaskOut

APPLICANTS_TURN = frozenset({"draft", "correction_requested", "fee_due"})
NOBODYS_TURN = frozenset({"closed", "withdrawn", "not_accepted"})


def turn(state: str) -> str:
    if state in APPLICANTS_TURN:
        return "applicant"
    return "nobody" if state in NOBODYS_TURN else "authority"


def opened(vault: Vault, case: Case, slots: Sequence[MaterialSlot]) -> CaseOut:
    """One that was opened just now, with nothing but its materials."""
    return _shown(vault, case, slots, [], [])


async def whole(session: AsyncSession, vault: Vault, case: Case) -> CaseOut:
    """As it is after the session's changes."""
    await session.flush()
    slots = await materials.of_case(session, case.id)
    tasks = await reviews.tasks_of(session, case.id)
    return _shown(vault, case, slots, tasks, await reviews.corrections_of(session, case.id))


async def as_stored(lookups: Reader, vault: Vault, case: Case) -> CaseOut:
    """As it lies there, for who only reads."""
    slots, tasks, corrections = (
        lookups.all(materials.OF_CASE, case.id),
        lookups.all(reviews.TASKS, case.id),
        lookups.all(reviews.CORRECTIONS, case.id),
    )
    return _shown(vault, case, await slots, await tasks, await corrections)


def _shown(
    vault: Vault,
    case: Case,
    slots: Sequence[MaterialSlot],
    tasks: Sequence[Task],
    corrections: Sequence[Correction],
) -> CaseOut:
    return CaseOut.model_validate(
        {
            **CaseLine.model_validate(case).model_dump(),
            "version": case.version,
            "channel": case.channel,
            "turn": turn(case.state),
            "form": forms.opened(vault, case),
            "delivery": case.delivery,
            "address_id": case.address_id,
            "materials": [SlotOut.model_validate(slot) for slot in slots],
            "tasks": [TaskOut.model_validate(task) for task in tasks],
            "corrections": [CorrectionOut.model_validate(one) for one in corrections],
            "accepted_on": case.accepted_on,
            "decided_on": case.decided_on,
            "reason_code": case.reason_code,
            "reason": case.reason,
            "payment_id": case.payment_id,
            "licence_id": case.licence_id,
        }
    )
