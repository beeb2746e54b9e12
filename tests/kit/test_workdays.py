"""Working days: the announced facts, and what must hold for every date."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import CITY, DayKind, WorkCalendar, city_day, now

CALENDAR = WorkCalendar.load()
DAY = timedelta(days=1)
dates = st.dates(date(2004, 1, 1), date(2049, 12, 31))
limits = st.integers(0, 60)


def test_2026_is_the_announced_year() -> None:
    year = CALENDAR.days_of(2026)
    made_up = [note.day.strftime("%m-%d") for note in year if note.kind is DayKind.MAKEUP]
    assert made_up == ["01-04", "02-14", "02-28", "05-09", "09-20", "10-10"]
    assert sum(note.works for note in year) == 248
    assert CALENDAR.status(2026) == "official"


@pytest.mark.parametrize(
    ("year", "working_days"),
    [(2004, 252), (2008, 251), (2015, 249), (2018, 250), (2020, 249), (2024, 251), (2025, 248)],
)
def test_working_days_of_earlier_years(year: int, working_days: int) -> None:
    assert sum(note.works for note in CALENDAR.days_of(year)) == working_days


def test_five_working_days_over_national_day_count_the_worked_saturday() -> None:
    limit = CALENDAR.add_working_days(date(2026, 9, 30), 5)
    assert limit.due == date(2026, 10, 13)
    assert not limit.provisional
    counted = {note.counted: note.day for note in limit.days if note.counted}
    assert counted[3] == date(2026, 10, 10)
    texts = {note.day.day: note.zh for note in limit.days if note.day.month == 10}
    assert texts[1] == "2026-10-01 星期四:国庆节放假,不计"
    assert texts[10] == "2026-10-10 星期六:国庆节调休上班,计第 3 天"
    assert texts[11] == "2026-10-11 星期日:周末,不计"
    assert limit.days[9].en == "2026-10-10 Saturday: worked for National Day, counted as day 3"


def test_a_limit_that_touches_unannounced_days_is_provisional() -> None:
    limit = CALENDAR.add_working_days(date(2026, 12, 20), 20)
    assert limit.provisional
    assert "预计" in limit.days[-1].zh
    assert CALENDAR.status(2027) == "estimated"
    assert not CALENDAR.add_working_days(date(2026, 11, 23), 20).provisional


def test_the_last_week_of_the_last_official_year_may_still_move() -> None:
    assert CALENDAR.is_provisional(date(2026, 12, 29))
    assert not CALENDAR.is_provisional(date(2018, 12, 29))
    assert not CALENDAR.is_provisional(date(2026, 12, 24))


def test_natural_days_roll_to_the_next_working_day() -> None:
    limit = CALENDAR.add_natural_days(date(2026, 9, 21), 10)  # 10-01, a holiday
    assert limit.due == date(2026, 10, 8)
    assert limit.days[-2].zh == "2026-10-07 星期三:国庆节放假,不计"
    assert CALENDAR.add_natural_days(date(2026, 10, 5), 5).due == date(2026, 10, 10)


def test_absurd_limits_are_refused() -> None:
    for n in (-1, 10**9):
        with pytest.raises(ValueError, match="a limit has"):
            CALENDAR.add_working_days(date(2026, 1, 1), n)


def test_now_is_utc_and_the_city_is_eight_hours_ahead() -> None:
    assert now().tzinfo is UTC
    assert city_day(datetime(2026, 10, 9, 16, 0, tzinfo=UTC)) == date(2026, 10, 10)
    assert CITY.key == "Asia/Shanghai"


@given(dates, limits)
def test_every_day_between_start_and_due_is_explained_once(start: date, n: int) -> None:
    limit = CALENDAR.add_working_days(start, n)
    if n:
        assert [note.day for note in limit.days] == [
            start + DAY * i for i in range(1, (limit.due - start).days + 1)
        ]
        assert [note.counted for note in limit.days if note.counted] == list(range(1, n + 1))
    assert CALENDAR.is_working_day(limit.due)
    for note in limit.days:
        assert bool(note.counted) <= CALENDAR.is_working_day(note.day)


@given(dates, st.integers(1, 60))
def test_adding_and_counting_agree(start: date, n: int) -> None:
    due = CALENDAR.add_working_days(start, n).due
    assert CALENDAR.working_days_between(start, due) == n
    assert CALENDAR.working_days_between(start, due - DAY) == n - 1


@given(dates, st.integers(1, 30), st.integers(1, 30))
def test_limits_add_up(start: date, a: int, b: int) -> None:
    middle = CALENDAR.add_working_days(start, a).due
    assert CALENDAR.add_working_days(middle, b).due == CALENDAR.add_working_days(start, a + b).due


@given(dates, limits)
def test_natural_days_end_on_a_working_day_not_before_their_count(start: date, n: int) -> None:
    due = CALENDAR.add_natural_days(start, n).due
    assert due >= start + DAY * n
    assert CALENDAR.is_working_day(due)
    assert CALENDAR.working_days_between(start + DAY * n, due) == (due != start + DAY * n)


def test_no_official_year_moves_a_working_day_twice() -> None:
    for year in range(2004, 2027):
        for note in CALENDAR.days_of(year):
            if note.kind is DayKind.MAKEUP:
                assert note.day.weekday() >= 5, note.zh
