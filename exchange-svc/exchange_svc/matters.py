"""'My matters': one row per case, written by events, read in one query."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import Envelope

from .models import Matter

STANDS = {
    "case.submitted.v1": ("submitted", "authority"),
    "case.accepted.v1": ("in_review", "authority"),
    "case.not_accepted.v1": ("not_accepted", "nobody"),
    "case.correction_requested.v1": ("correction_requested", "applicant"),
    "case.corrected.v1": ("in_review", "authority"),
    "case.fee_due.v1": ("fee_due", "applicant"),
    "case.withdrawn.v1": ("withdrawn", "nobody"),
    "case.closed.v1": ("closed", "nobody"),
}


async def follow(session: AsyncSession, envelope: Envelope) -> None:
    """Let an event move its matter. An older version than the one seen changes nothing."""
    data = envelope.data
    if envelope.event_type == "payment.paid.v1":
        await _turn(session, data["case_id"], "fee_due", "deciding", envelope.time)
        return
    if envelope.event_type == "case.decided.v1":
        state = "issuing" if data["outcome"] == "approved" else "rejected"
        stands = (state, "authority")
    elif envelope.event_type in STANDS:
        stands = STANDS[envelope.event_type]
    else:
        return
    row = insert(Matter).values(
        case_id=data["case_id"],
        account_id=data["applicant_id"],
        actor_id=_agent(envelope),
        case_version=envelope.aggregateversion,
        item_code=data.get("item_code"),
        item_name=data.get("item_name"),
        state=stands[0],
        turn=stands[1],
        dept=envelope.dept,
        changed_at=envelope.time,
    )
    new = row.excluded
    await session.execute(
        row.on_conflict_do_update(
            index_elements=["case_id"],
            set_={
                "case_version": new.case_version,
                "actor_id": func.coalesce(new.actor_id, Matter.actor_id),
                "item_code": func.coalesce(new.item_code, Matter.item_code),
                "item_name": func.coalesce(new.item_name, Matter.item_name),
                "state": new.state,
                "turn": new.turn,
                "changed_at": new.changed_at,
            },
            where=Matter.case_version < new.case_version,
        )
    )


def _agent(envelope: Envelope) -> str | None:
    """Who handed the case in, when he did it for the applicant."""
    submitted = envelope.event_type == "case.submitted.v1"
    agent = submitted and envelope.onbehalfof == envelope.data["applicant_id"]
    return envelope.actor if agent else None


async def _turn(
    session: AsyncSession, case_id: str, expected: str, state: str, at: datetime
) -> None:
    matter = await session.get(Matter, case_id, with_for_update=True)
    if matter is not None and matter.state == expected:
        matter.state, matter.turn, matter.changed_at = state, "authority", at


async def of(
    session: AsyncSession, account_id: str, *, after: list[str] | None, limit: int
) -> Sequence[Matter]:
    """The account's matters, the latest change first; one more than `limit` if there are more."""
    query = (
        select(Matter)
        .filter_by(account_id=account_id)
        .order_by(Matter.changed_at.desc(), Matter.case_id.desc())
        .limit(limit + 1)
    )
    if after is not None:
        mark = (datetime.fromisoformat(after[0]), after[1])
        query = query.where(tuple_(Matter.changed_at, Matter.case_id) < mark)
    return (await session.scalars(query)).all()
