"""Time: now, the city's zone, working days, and the clock of a case.

A CaseClock is a value: it is kept as a document, changed by making the next one, and read
against a calendar and a day. It does no I/O and knows no wall clock.
"""

import math
from datetime import UTC, date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, model_validator

from .workdays import DayKind, DayNote, Deadline, Unit, WorkCalendar

__all__ = [
    "CITY",
    "CaseClock",
    "Colour",
    "DayKind",
    "DayNote",
    "Deadline",
    "Pause",
    "Reading",
    "Unit",
    "WorkCalendar",
    "city_day",
    "now",
]

CITY = ZoneInfo("Asia/Shanghai")


def now() -> datetime:
    """This moment, aware, UTC."""
    return datetime.now(UTC)


def city_day(moment: datetime) -> date:
    """The date that the city's calendars show at an aware moment."""
    return moment.astimezone(CITY).date()


class Colour(StrEnum):
    GREEN = "green"
    YELLOW = "yellow"
    """A fifth of the promised limit, at least one day, or less is left."""
    RED = "red"
    """The promised limit is over, or the statutory one."""


class Pause(BaseModel):
    """The clock stands still after `start` up to and with `end` (None: until further notice).
    Like a limit's first day, the day on which it happens still belongs to what went before."""

    model_config = ConfigDict(frozen=True)

    start: date
    end: date | None = None
    reason: str

    def covers(self, day: date) -> bool:
        return self.start < day and (self.end is None or day <= self.end)


class Reading(BaseModel):
    """What a CaseClock shows on a day. Numbers are days of the limit's own unit."""

    model_config = ConfigDict(frozen=True)

    used: int
    """Of the promised limit."""
    statutory_used: int
    promised_remaining: int
    """Negative: so many days late."""
    statutory_remaining: int
    promised_due: date | None
    """None while the clock is paused and the limit was not reached before."""
    statutory_due: date | None
    paused: bool
    colour: Colour
    provisional: bool
    """A due date may be moved by an announcement of holidays."""
    days: list[DayNote]
    """Every day so far, counted to the promised limit or skipped, with its reason."""


class CaseClock(BaseModel):
    """The limits of a case and its pauses, which may overlap (two departments each ask for
    something). Immutable: `pause`, `resume` and `stop` give the next value. Keep it with
    `model_dump(mode="json")`, read it back with `model_validate`."""

    model_config = ConfigDict(frozen=True)

    started: date
    """The city day of acceptance; it is not counted (民法典 201)."""
    promised: int
    statutory: int
    promised_unit: Unit = "working_day"
    statutory_unit: Unit = "working_day"
    pauses: tuple[Pause, ...] = ()
    stopped: date | None = None
    """The day of the decision; nothing is counted after it."""

    @model_validator(mode="after")
    def _consistent(self) -> "CaseClock":
        if self.promised < 0 or self.statutory < 0:
            raise ValueError("a limit is not negative")
        for pause in self.pauses:
            if pause.start < self.started or (pause.end is not None and pause.end < pause.start):
                raise ValueError("a pause lies after the start and ends after it began")
        if self.stopped is not None and self.stopped < self.started:
            raise ValueError("a clock stops after it started")
        return self

    @property
    def paused(self) -> bool:
        return self.stopped is None and any(pause.end is None for pause in self.pauses)

    def pause(self, day: date, reason: str) -> "CaseClock":
        """Stand still from the end of `day` on. Raises ValueError when it is paused or stopped."""
        if self.paused or self.stopped:
            raise ValueError("the clock does not run")
        return self._next(pauses=(*self.pauses, Pause(start=day, reason=reason)))

    def resume(self, day: date) -> "CaseClock":
        """Run again from the end of `day` on: every open pause ends. Raises ValueError when it is
        not paused."""
        if not self.paused:
            raise ValueError("the clock is not paused")
        ended = [p.model_copy(update={"end": p.end or day}) for p in self.pauses]
        return self._next(pauses=tuple(ended))

    def stop(self, day: date) -> "CaseClock":
        """The decision is made: close an open pause and count no further."""
        clock = self.resume(day) if self.paused else self
        return clock._next(stopped=day)

    def _next(self, **change: object) -> "CaseClock":
        return CaseClock.model_validate({**dict(self), **change})

    def _reason(self, day: date) -> str | None:
        for pause in self.pauses:
            if pause.covers(day):
                return pause.reason
        return None

    def due(
        self, limit: int, calendar: WorkCalendar, unit: Unit = "working_day"
    ) -> Deadline | None:
        """When `limit` days of this unit are used up; None while an open pause prevents it."""
        if self.paused:
            since = min(pause.start for pause in self.pauses if pause.end is None)
            if _used(self._days(since, calendar, unit)) < limit:
                return None
        return calendar.add_days(self.started, limit, unit, paused=self._reason)

    def _last(self, today: date) -> date:
        return min(today, self.stopped) if self.stopped else today

    def _days(self, today: date, calendar: WorkCalendar, unit: Unit) -> list[DayNote]:
        days: list[DayNote] = []
        count = 0
        for offset in range(1, (self._last(today) - self.started).days + 1):
            day = date.fromordinal(self.started.toordinal() + offset)
            days.append(calendar.counted(day, count, unit, self._reason(day)))
            count = days[-1].counted or count
        return days

    def _left(self, limit: int, used: int, due: Deadline | None, today: date) -> int:
        """A limit that ended on a day off runs on to the next working day (民法典 203)."""
        in_time = due is not None and self._last(today) <= due.due
        return max(limit - used, 0) if in_time else limit - used

    def read(self, today: date, calendar: WorkCalendar | None = None) -> Reading:
        """What the clock shows at the end of `today` (a city day)."""
        calendar = calendar or WorkCalendar.load()
        days = self._days(today, calendar, self.promised_unit)
        used = _used(days)
        lawful = _used(self._days(today, calendar, self.statutory_unit))
        promised = self.due(self.promised, calendar, self.promised_unit)
        statutory = self.due(self.statutory, calendar, self.statutory_unit)
        left = self._left(self.promised, used, promised, today)
        lawful_left = self._left(self.statutory, lawful, statutory, today)
        if left < 0 or lawful_left < 0:
            colour = Colour.RED
        elif left <= max(1, math.ceil(self.promised / 5)) and self.stopped is None:
            colour = Colour.YELLOW
        else:
            colour = Colour.GREEN
        return Reading(
            used=used,
            statutory_used=lawful,
            promised_remaining=left,
            statutory_remaining=lawful_left,
            promised_due=promised.due if promised else None,
            statutory_due=statutory.due if statutory else None,
            paused=self.paused,
            colour=colour,
            provisional=any(limit.provisional for limit in (promised, statutory) if limit),
            days=days,
        )


def _used(days: list[DayNote]) -> int:
    return sum(1 for note in days if note.counted)
