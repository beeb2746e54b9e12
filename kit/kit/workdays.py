"""The working days of mainland China, with 调休, and every day's reason.

Facts lie in workdays.json: each year is `official` (as the State Council announced it) or
`estimated` (the holidays that the law names, no make-up days). A date is provisional while an
announcement may still move it: in an estimated year, or in the last week of the last official
year, whose days the New Year announcement has moved before (2006, 2007, 2018).
"""

import json
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, computed_field

DAY = timedelta(days=1)
Unit = Literal["working_day", "natural_day"]
"""What a limit counts: working days (行政许可法 82), natural days where its own law says so."""
MOST_DAYS = 3660
"""The longest limit that is counted; what is longer is a mistake of the caller."""
_NEW_YEAR_MOVES_FROM = (12, 25)
_WEEKDAYS = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")
_ENGLISH = {
    "元旦": "New Year's Day",
    "春节": "Spring Festival",
    "清明节": "Qingming Festival",
    "劳动节": "Labour Day",
    "端午节": "Dragon Boat Festival",
    "中秋节": "Mid-Autumn Festival",
    "国庆节": "National Day",
    "抗战胜利70周年纪念日": "70th Victory Day",
}


class DayKind(StrEnum):
    WORKDAY = "workday"
    WEEKEND = "weekend"
    HOLIDAY = "holiday"
    MAKEUP = "makeup"
    """A weekend day that is worked for a holiday."""
    PAUSED = "paused"
    """A day that would have counted, on which the clock stood still."""


class DayNote(BaseModel):
    """One day of a count: what it is, and the how-manieth it was counted as (None: skipped)."""

    model_config = ConfigDict(frozen=True)

    day: date
    kind: DayKind
    name: str = ""
    """The holiday, the holiday that is made up for, or the reason of the pause, in Chinese."""
    counted: int | None = None
    provisional: bool = False

    @property
    def works(self) -> bool:
        return self.kind in (DayKind.WORKDAY, DayKind.MAKEUP)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def zh(self) -> str:
        """`2026-10-10 星期六:国庆节调休上班,计第 3 天`"""
        what = {
            DayKind.WORKDAY: "工作日",
            DayKind.WEEKEND: "周末",
            DayKind.HOLIDAY: f"{self.name}放假",
            DayKind.MAKEUP: f"{self.name}调休上班",
            DayKind.PAUSED: f"计时暂停({self.name})",
        }[self.kind]
        counted = f"计第 {self.counted} 天" if self.counted else "不计"
        estimated = "(预计,以国务院通知为准)" if self.provisional else ""
        return f"{self.day} {_WEEKDAYS[self.day.weekday()]}:{what},{counted}{estimated}"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def en(self) -> str:
        """`2026-10-10 Saturday: worked for National Day, counted as day 3`"""
        name = english_name(self.name)
        what = {
            DayKind.WORKDAY: "working day",
            DayKind.WEEKEND: "weekend",
            DayKind.HOLIDAY: f"holiday, {name}",
            DayKind.MAKEUP: f"worked for {name}",
            DayKind.PAUSED: f"clock paused ({name})",
        }[self.kind]
        counted = f"counted as day {self.counted}" if self.counted else "not counted"
        estimated = " (estimated until announced)" if self.provisional else ""
        return f"{self.day} {self.day:%A}: {what}, {counted}{estimated}"


class Deadline(BaseModel):
    """When a limit ends. `days` tells of every day from the one after the start to the last."""

    model_config = ConfigDict(frozen=True)

    due: date
    provisional: bool
    """An announcement of holidays still to come may move it."""
    days: list[DayNote]


class WorkCalendar:
    """Which days are worked. `WorkCalendar.load()` gives the one of the packaged facts."""

    def __init__(self, years: Mapping[str, Mapping[str, Any]]) -> None:
        """`years`: `{"2026": {"status", "off": [[first, last, name]], "work": [[day, name]]}}`,
        days as `MM-DD`; the shape of workdays.json."""
        self._status = {int(year): facts["status"] for year, facts in years.items()}
        self._special: dict[date, tuple[DayKind, str]] = {}
        for year, facts in years.items():
            for first, last, name in facts["off"]:
                day, end = (
                    date.fromisoformat(f"{year}-{first}"),
                    date.fromisoformat(f"{year}-{last}"),
                )
                while day <= end:
                    self._special[day] = (DayKind.HOLIDAY, name)
                    day += DAY
            for text, name in facts["work"]:
                self._special[date.fromisoformat(f"{year}-{text}")] = (DayKind.MAKEUP, name)

    @classmethod
    def load(cls) -> "WorkCalendar":
        """The calendar of the packaged facts, read once."""
        return _packaged()

    def status(self, year: int) -> Literal["official", "estimated"]:
        """`official` when the State Council has announced the year's holidays."""
        return "official" if self._status.get(year) == "official" else "estimated"

    def is_provisional(self, day: date) -> bool:
        if self.status(day.year) == "estimated":
            return True
        moves = (day.month, day.day) >= _NEW_YEAR_MOVES_FROM
        return moves and self.status(day.year + 1) == "estimated"

    def note(self, day: date) -> DayNote:
        """What the day is, not yet counted."""
        kind, name = self._special.get(
            day, (DayKind.WEEKEND if day.weekday() >= 5 else DayKind.WORKDAY, "")
        )
        return DayNote(day=day, kind=kind, name=name, provisional=self.is_provisional(day))

    def is_working_day(self, day: date) -> bool:
        special = self._special.get(day)
        return special[0] is DayKind.MAKEUP if special else day.weekday() < 5

    def days_of(self, year: int) -> list[DayNote]:
        """Every day of the year, in order."""
        first = date(year, 1, 1)
        return [self.note(first + DAY * i) for i in range((date(year, 12, 31) - first).days + 1)]

    def add_working_days(
        self, start: date, n: int, *, paused: Callable[[date], str | None] = lambda day: None
    ) -> Deadline:
        """The day on which the n-th working day after `start` ends; the start is not counted
        (民法典 201). `paused(day)` gives the reason why the clock stands still on a day, or None.
        n = 0 ends on the first working day from the start on. Raises ValueError for n < 0 or
        more than MOST_DAYS, or when the pauses do not let it end."""
        return self.add_days(start, n, "working_day", paused=paused)

    def add_natural_days(
        self, start: date, n: int, *, paused: Callable[[date], str | None] = lambda day: None
    ) -> Deadline:
        """The n-th natural day after `start`; when that is no working day, the next working day
        (民法典 201, 203). Pauses and ValueError as in add_working_days."""
        return self.add_days(start, n, "natural_day", paused=paused)

    def add_days(
        self,
        start: date,
        n: int,
        unit: Unit,
        *,
        paused: Callable[[date], str | None] = lambda day: None,
    ) -> Deadline:
        """The end of a limit of n days of this unit, as add_working_days or add_natural_days."""
        _refuse_absurd(n)
        days: list[DayNote] = []
        day, count = start, 0
        while count < n:
            if len(days) > 2 * MOST_DAYS:
                raise ValueError("the pauses do not let the limit end")
            day += DAY
            days.append(self.counted(day, count, unit, paused(day)))
            count = days[-1].counted or count
        if n == 0 or unit == "natural_day":
            return self._rolled(days, day)
        return Deadline(due=day, provisional=any(d.provisional for d in days), days=days)

    def counted(self, day: date, before: int, unit: Unit, paused: str | None) -> DayNote:
        """The day as a count of `unit` goes on, `before` days into it; `paused` is the reason
        why the clock stands still on it, or None."""
        note = self.note(day)
        if unit == "working_day" and not note.works:
            return note
        if paused is not None:
            return note.model_copy(update={"kind": DayKind.PAUSED, "name": paused})
        return note.model_copy(update={"counted": before + 1})

    def _rolled(self, days: list[DayNote], last: date) -> Deadline:
        due = last
        while not self.is_working_day(due):
            due += DAY
            days.append(self.note(due))
        provisional = any(d.provisional for d in days) or self.is_provisional(last)
        return Deadline(due=due, provisional=provisional, days=days)

    def working_days_between(self, start: date, end: date) -> int:
        """How many working days lie after `start` up to and with `end`; 0 when end ≤ start."""
        return sum(self.is_working_day(start + DAY * i) for i in range(1, (end - start).days + 1))


def english_name(name: str) -> str:
    """The English name of a holiday of the facts; anything else unchanged."""
    parts = [part.removesuffix("补假") for part in name.split("、")]
    return " and ".join(_ENGLISH.get(part, part) for part in parts)


def _refuse_absurd(n: int) -> None:
    if not 0 <= n <= MOST_DAYS:
        raise ValueError(f"a limit has 0 to {MOST_DAYS} days")


@lru_cache(maxsize=1)
def _packaged() -> WorkCalendar:
    facts = json.loads((Path(__file__).parent / "workdays.json").read_text(encoding="utf-8"))
    return WorkCalendar(facts["years"])
