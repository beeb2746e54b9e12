"""Every step of a case leaves an entry; the entries of a case form a hash chain."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.auth import Caller
from kit.clock import now
from kit.ids import new_id
from kit.states import move

from .models import CASE_TRANSITIONS, Case, TimelineEntry


@dataclass(frozen=True)
class By:
    """Who took a step: an account (`principal`: in whose name, where not in its own), or a service
    reacting to an event."""

    id: str
    dept: str | None = None
    principal: str | None = None

    @classmethod
    def caller(cls, caller: Caller) -> "By":
        if caller.actor is None:
            return cls(caller.subject, caller.dept)
        return cls(caller.actor, caller.dept or caller.agent_dept, caller.subject)


def _digest(entry: TimelineEntry) -> str:
    content = [
        entry.previous,
        entry.id,
        entry.case_id,
        entry.case_version,
        entry.at.isoformat(),
        entry.action,
        entry.from_state,
        entry.to_state,
        entry.actor,
        entry.dept,
        entry.note,
    ]
    if entry.principal is not None:  # entries of before have none, and keep their hash
        content.append(entry.principal)
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def note(
    session: AsyncSession,
    case: Case,
    action: str,
    by: By,
    *,
    from_state: str | None = None,
    text: str | None = None,
) -> None:
    """Append an entry to the case's chain. The case row must be locked by the caller."""
    entry = TimelineEntry(
        id=new_id("tl"),
        case_id=case.id,
        case_version=case.version,
        at=now(),
        action=action,
        from_state=from_state or case.state,
        to_state=case.state,
        actor=by.id,
        principal=by.principal,
        dept=by.dept,
        note=text,
        previous=case.timeline_head,
    )
    entry.hash = case.timeline_head = _digest(entry)
    case.updated_at = entry.at
    session.add(entry)


def step(
    session: AsyncSession, case: Case, action: str, by: By, *, text: str | None = None, **data: Any
) -> None:
    """Move the case along the edge `action`, emit the edge's event from `data`, and note it."""
    before = case.state
    move(session, case, CASE_TRANSITIONS, action, **data)
    note(session, case, action, by, from_state=before, text=text)


async def entries(session: AsyncSession, case_id: str) -> Sequence[TimelineEntry]:
    found = await session.scalars(
        select(TimelineEntry).filter_by(case_id=case_id).order_by(TimelineEntry.id)
    )
    return found.all()


def broken_at(entries: Sequence[TimelineEntry], head: str) -> str | None:
    """The id of the first entry that does not fit the chain, "head" when the end was cut off,
    or None when all is well."""
    previous = ""
    for entry in entries:
        if entry.previous != previous or entry.hash != _digest(entry):
            return entry.id
        previous = entry.hash
    return None if previous == head else "head"


def chained(entries: Sequence[TimelineEntry]) -> Sequence[TimelineEntry]:
    """Entries of one case in the order of their chain, as far as it reaches: ids of one
    millisecond have no order of their own."""
    after = {entry.previous: entry for entry in entries}
    chain: list[TimelineEntry] = []
    here = ""
    while here in after:
        chain.append(after.pop(here))
        here = chain[-1].hash
    return chain
