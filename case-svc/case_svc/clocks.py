"""The lawful clock of a case: limits in the days that its item says (working days, or natural days
where its law says so), pauses, and the explanation of each day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kit import clock
from kit.clock import CaseClock, Unit, WorkCalendar

from .models import Case, Pause


@dataclass(frozen=True)
class Due:
    promised: date
    statutory: date


def today() -> date:
    """The city's date."""
    return clock.city_day(clock.now())


def today_or(earliest: date | None) -> date:
    """The city's date; never before `earliest`, also when this machine's clock was put back."""
    return max(today(), earliest) if earliest else today()


def in_working_days(days: int) -> date:
    """The day on which a limit of so many working days from today ends."""
    return WorkCalendar.load().add_working_days(today(), days).due


def _units(case: Case) -> dict[str, Unit]:
    """Drafts of before items said it count working days."""
    return {
        "promised_unit": case.item.get("promise_unit", "working_day"),
        "statutory_unit": case.item.get("statutory_unit", "working_day"),
    }


def _value(case: Case, pauses: Sequence[Pause]) -> CaseClock | None:
    if case.accepted_on is None:
        return None
    value = CaseClock(
        started=case.accepted_on,
        promised=case.item["promise_days"],
        statutory=case.item["statutory_days"],
        **_units(case),
        pauses=tuple(
            clock.Pause(start=pause.started_on, end=pause.ended_on, reason=pause.reason)
            for pause in pauses
        ),
    )
    return value.stop(case.decided_on) if case.decided_on else value


def deadlines(case: Case, pauses: Sequence[Pause]) -> Due:
    """When the promised and the statutory limit of an accepted case end."""
    value, calendar = _value(case, pauses), WorkCalendar.load()
    if value is None:
        raise ValueError("the clock of a case starts with its acceptance")
    promised = calendar.add_days(value.started, value.promised, value.promised_unit)
    statutory = calendar.add_days(value.started, value.statutory, value.statutory_unit)
    return Due(promised.due, statutory.due)


async def shown(session: AsyncSession, case: Case) -> dict[str, Any]:
    """What the clock shows today, ready for an answer."""
    rows = select(Pause).filter_by(case_id=case.id).order_by(Pause.id)
    value = _value(case, (await session.scalars(rows)).all())
    limits = {
        "promised_days": case.item["promise_days"],
        "statutory_days": case.item["statutory_days"],
        **_units(case),
    }
    if value is None:
        return limits | {
            "state": "not_started",
            "colour": None,
            "used_days": 0,
            "statutory_used_days": 0,
            "promised_due": None,
            "statutory_due": None,
            "provisional": False,
            "days": [],
        }
    reading = value.read(today())
    running = "paused" if reading.paused else "running"
    return limits | {
        "state": "stopped" if value.stopped else running,
        "colour": reading.colour,
        "used_days": reading.used,
        "statutory_used_days": reading.statutory_used,
        "promised_due": reading.promised_due,
        "statutory_due": reading.statutory_due,
        "provisional": reading.provisional,
        "days": [note.model_dump(mode="json") for note in reading.days],
    }
