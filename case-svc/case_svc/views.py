"""A case as a person sees it: everything of one case in a handful of queries."""

from sqlalchemy.ext.asyncio import AsyncSession

from kit.secrets import Vault

from . import forms, materials, reviews
from .models import Case
from .schemas import CaseLine, CaseOut, CorrectionOut, SlotOut, TaskOut

APPLICANTS_TURN = frozenset({"draft", "correction_requested", "fee_due"})
NOBODYS_TURN = frozenset({"closed", "withdrawn", "not_accepted"})


def turn(state: str) -> str:
    if state in APPLICANTS_TURN:
        return "applicant"
    return "nobody" if state in NOBODYS_TURN else "authority"


async def whole(session: AsyncSession, vault: Vault, case: Case) -> CaseOut:
    await session.flush()
    slots = await materials.of_case(session, case.id)
    tasks = await reviews.tasks_of(session, case.id)
    corrections = await reviews.corrections_of(session, case.id)
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
