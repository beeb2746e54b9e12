"""The clock of a case: pauses, due dates, colours."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import CaseClock, Colour, DayKind, Pause, WorkCalendar

CALENDAR = WorkCalendar.load()
DAY = timedelta(days=1)
MONDAY = date(2026, 11, 16)


def clock(promised: int = 5, statutory: int = 10) -> CaseClock:
    return CaseClock(started=MONDAY, promised=promised, statutory=statutory)


def test_it_counts_working_days_after_acceptance() -> None:
    reading = clock().read(date(2026, 11, 18))
    assert (reading.used, reading.promised_remaining, reading.statutory_remaining) == (2, 3, 8)
    assert reading.promised_due == date(2026, 11, 23)
    assert reading.statutory_due == date(2026, 11, 30)
    assert reading.colour is Colour.GREEN
    assert not reading.paused


def test_colours() -> None:
    colours = [clock().read(MONDAY + DAY * i).colour.value for i in range(9)]
    assert colours == ["green"] * 4 + ["yellow"] * 4 + ["red"]


def test_a_pause_moves_the_due_date_and_says_why() -> None:
    paused = clock().pause(date(2026, 11, 17), "补正")
    still = paused.read(date(2026, 11, 20))
    assert still.used == 1
    assert still.paused
    assert still.promised_due is None
    assert [note.kind for note in still.days][1:] == [DayKind.PAUSED] * 3
    assert still.days[1].zh == "2026-11-18 星期三:计时暂停(补正),不计"

    running = paused.resume(date(2026, 11, 20)).read(date(2026, 11, 23))
    assert running.used == 2
    assert running.promised_due == date(2026, 11, 26)
    assert not running.paused


def test_asked_and_answered_on_one_day_costs_nothing() -> None:
    moved = clock().pause(date(2026, 11, 17), "补正").resume(date(2026, 11, 17))
    assert moved.read(MONDAY).promised_due == clock().read(MONDAY).promised_due


def test_a_limit_already_over_stays_over_while_paused() -> None:
    reading = clock(promised=1).pause(date(2026, 11, 19), "补正").read(date(2026, 11, 25))
    assert reading.promised_due == date(2026, 11, 17)
    assert reading.statutory_due is None
    assert reading.colour is Colour.RED
    assert reading.used == 3


def test_pauses_of_two_departments_may_overlap() -> None:
    first = Pause(start=date(2026, 11, 17), end=date(2026, 11, 19), reason="补正")
    second = Pause(start=date(2026, 11, 18), end=None, reason="检验")
    both = CaseClock(started=MONDAY, promised=5, statutory=10, pauses=(first, second))
    assert both.read(date(2026, 11, 20)).used == 1
    assert both.read(date(2026, 11, 20)).promised_due is None
    resumed = both.resume(date(2026, 11, 20))
    assert resumed.pauses[0] == first
    assert resumed.read(date(2026, 11, 20)).promised_due == date(2026, 11, 26)


def test_it_stops_for_good() -> None:
    stopped = clock().pause(date(2026, 11, 17), "补正").stop(date(2026, 11, 20))
    assert stopped.read(date(2027, 11, 20)).used == 1
    assert stopped.read(date(2027, 11, 20)).colour is Colour.GREEN
    assert not stopped.paused


def test_impossible_changes_are_refused() -> None:
    paused = clock().pause(MONDAY, "补正")
    with pytest.raises(ValueError, match="does not run"):
        paused.pause(MONDAY, "补正")
    with pytest.raises(ValueError, match="not paused"):
        clock().resume(MONDAY)
    with pytest.raises(ValueError, match="a pause lies after"):
        paused.resume(MONDAY - DAY)
    with pytest.raises(ValueError, match="not negative"):
        clock(promised=-1)


def test_it_is_kept_as_a_document() -> None:
    paused = clock().pause(date(2026, 11, 17), "补正")
    assert CaseClock.model_validate(paused.model_dump(mode="json")) == paused


@st.composite
def clocks(draw: st.DrawFn) -> CaseClock:
    promised = draw(st.integers(0, 20))
    value = CaseClock(
        started=draw(st.dates(date(2025, 1, 1), date(2027, 12, 31))),
        promised=promised,
        statutory=promised + draw(st.integers(0, 45)),
    )
    day = value.started
    for _ in range(draw(st.integers(0, 3))):
        day += DAY * draw(st.integers(0, 15))
        value = value.pause(day, "补正")
        day += DAY * draw(st.integers(0, 15))
        value = value.resume(day)
    return value


@given(clocks(), st.integers(0, 120))
def test_used_days_are_the_working_days_outside_pauses(value: CaseClock, days: int) -> None:
    today = value.started + DAY * days
    expected = sum(
        CALENDAR.is_working_day(day) and not any(p.covers(day) for p in value.pauses)
        for day in (value.started + DAY * i for i in range(1, days + 1))
    )
    assert value.read(today).used == expected


@given(clocks())
def test_on_the_due_day_nothing_is_left_and_the_next_day_it_is_late(value: CaseClock) -> None:
    due = value.read(value.started).promised_due
    assert due is not None
    if value.promised:
        assert value.read(due).promised_remaining == 0
        assert value.read(due - DAY).promised_remaining == 1
    assert value.read(due).colour is not Colour.RED or value.promised == 0
    assert value.read(due + DAY * 400).colour is Colour.RED


@given(clocks(), st.integers(0, 30))
def test_a_pause_never_brings_the_due_date_forward(value: CaseClock, length: int) -> None:
    before = value.read(value.started).promised_due
    day = value.pauses[-1].end if value.pauses else value.started
    assert before is not None
    assert day is not None
    after = value.pause(day, "鉴定").resume(day + DAY * length).read(value.started).promised_due
    assert after is not None
    assert after >= before


def natural(promised: int = 5, statutory: int = 15) -> CaseClock:
    """Accepted on a Wednesday, eight days before National Day, the law counts natural days."""
    return CaseClock(
        started=date(2026, 9, 16),
        promised=promised,
        statutory=statutory,
        statutory_unit="natural_day",
    )


def test_natural_days_count_weekends_and_end_after_the_holiday() -> None:
    reading = natural().read(date(2026, 9, 21))
    assert (reading.used, reading.statutory_used) == (4, 5)  # Sunday 09-20 is worked
    assert (reading.promised_remaining, reading.statutory_remaining) == (1, 10)
    assert reading.promised_due == date(2026, 9, 22)
    assert reading.statutory_due == date(2026, 10, 8)  # the 15th day is 10-01, a holiday


def test_a_limit_that_ended_on_a_holiday_is_over_after_the_next_working_day() -> None:
    clock = natural(promised=40)
    assert clock.read(date(2026, 10, 8)).statutory_remaining == 0
    assert clock.read(date(2026, 10, 8)).colour is Colour.GREEN
    late = clock.read(date(2026, 10, 9))
    assert late.statutory_remaining < 0
    assert late.colour is Colour.RED


def test_natural_days_stand_still_in_a_pause_also_at_the_weekend() -> None:
    moved = natural().pause(date(2026, 9, 18), "补正").resume(date(2026, 9, 21))
    assert moved.read(date(2026, 9, 22)).statutory_used == 3
    assert moved.read(date(2026, 9, 22)).statutory_due == date(2026, 10, 8)
    assert natural(statutory=7).read(MONDAY).statutory_due == date(2026, 9, 23)
    moved = natural(statutory=7).pause(date(2026, 9, 18), "补正").resume(date(2026, 9, 21))
    assert moved.read(MONDAY).statutory_due == date(2026, 9, 28)  # 09-26 is a Saturday off


def test_a_promise_in_natural_days_explains_its_days() -> None:
    clock = CaseClock(started=MONDAY, promised=7, statutory=15, promised_unit="natural_day").pause(
        date(2026, 11, 20), "补正"
    )
    reading = clock.read(date(2026, 11, 22))
    assert (reading.used, reading.paused, reading.promised_due) == (4, True, None)
    assert [note.kind for note in reading.days][-2:] == [DayKind.PAUSED] * 2
    reading = clock.resume(date(2026, 11, 20)).read(date(2026, 11, 22))
    assert reading.days[-1].zh == "2026-11-22 星期日:周末,计第 6 天"
