"""What the profile knows of its facts, and which tags follow from them: rules as data.

data/profile.json holds them; this module reads and applies them, without any database.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from kit.clock import CITY, city_day

PURPOSES = ("service_task", "prefill", "recommend", "export")


@cache
def _read() -> dict[str, Any]:
    text = files(__package__).joinpath("data/profile.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def about(key: str) -> dict[str, Any] | None:
    """Name and purposes of a fact; None for a key that no rule knows."""
    kind, dot, rest = key.partition(".")
    if dot and kind in ("licence", "case"):
        return {**_read()[kind], "key": key, "ref": rest}
    return next((fact for fact in _read()["facts"] if fact["key"] == key), None)


def declarable(key: str) -> dict[str, Any] | None:
    """How a person may declare this fact: `values` or `longest`, and for how many `days`; None
    when it is not theirs to declare."""
    fact = about(key)
    return fact.get("declare") if fact and "." not in key else None


@cache
def tag(code: str) -> dict[str, Any]:
    """Name and basis of a tag; the bare code for one that is no longer in the rules."""
    known = (rule for rule in _read()["tags"] if rule["code"] == code)
    return next(known, {"code": code, "name": code, "name_en": code, "basis": ""})


@dataclass(frozen=True)
class Known:
    """A valid fact as the rules see it."""

    id: str
    key: str
    value: str
    expires_at: datetime | None


@dataclass(frozen=True)
class Conclusion:
    code: str
    fact_id: str
    expires_at: datetime | None


@cache
def looked_at(kind: str) -> tuple[frozenset[str], frozenset[str]]:
    """Keys of the facts that the tags of such an account follow from: those whose values count,
    and those of which it is enough that there is one."""
    rules = [rule for rule in _read()["tags"] if kind in rule["kinds"]]
    valued = {r["fact"] for r in rules if r.keys() & {"equals", "from_age", "below_age"}}
    return frozenset(valued), frozenset({r["fact"] for r in rules} - valued)


def conclude(kind: str, facts: Iterable[Known], at: datetime) -> Iterator[Conclusion]:
    """The tags of an account of this kind at a moment: each once, from the fact that carries it
    longest."""
    by_key: dict[str, list[Known]] = {}
    for fact in facts:
        by_key.setdefault(fact.key, []).append(fact)
    for rule in _read()["tags"]:
        if kind not in rule["kinds"]:
            continue
        carried = [
            (ends, fact.id)
            for fact in by_key.get(rule["fact"], [])
            for holds, ends in [_holds(rule, fact, at)]
            if holds
        ]
        if carried:
            never = datetime.max.replace(tzinfo=UTC)
            ends, fact_id = max(carried, key=lambda pair: (pair[0] or never, pair[1]))
            yield Conclusion(rule["code"], fact_id, ends)


def _holds(rule: dict[str, Any], fact: Known, at: datetime) -> tuple[bool, datetime | None]:
    if "equals" in rule:
        return fact.value == rule["equals"], fact.expires_at
    if "from_age" in rule:
        return at >= birthday(fact.value, rule["from_age"]), None
    if "below_age" in rule:
        ends = birthday(fact.value, rule["below_age"])
        return at < ends, ends
    return True, fact.expires_at


def birthday(born: str, age: int) -> datetime:
    """The start of the day on which somebody reaches an age, in the city. Whoever was born on 29
    February reaches it on 1 March of a common year."""
    day = date.fromisoformat(born)
    try:
        reached = day.replace(year=day.year + age)
    except ValueError:
        reached = date(day.year + age, 3, 1)
    return midnight(reached)


def midnight(day: date) -> datetime:
    """The start of a day of the city."""
    return datetime.combine(day, time(), CITY).astimezone(UTC)


def next_look(key: str, value: str, expires_at: datetime | None, at: datetime) -> datetime | None:
    """When this fact, or a tag that follows from it, changes by itself."""
    ages = [
        birthday(value, rule[name])
        for rule in _read()["tags"]
        for name in ("from_age", "below_age")
        if rule["fact"] == key and name in rule
    ]
    moments = [moment for moment in (*ages, expires_at) if moment is not None and moment > at]
    return min(moments, default=None)


def of_id_number(number: str) -> dict[str, str]:
    """What an identity number (GB 11643) says: the date of birth and the gender."""
    born = f"{number[6:10]}-{number[10:12]}-{number[12:14]}"
    return {"birth_date": born, "gender": "male" if int(number[16]) % 2 else "female"}


def fits(key: str, value: str, today: date) -> bool:
    """Whether the register of citizens can say this: a past date of birth, a gender."""
    if key == "birth_date":
        try:
            born = date.fromisoformat(value)
        except ValueError:
            return False
        return born.isoformat() == value and date(1900, 1, 1) <= born <= today
    return key != "gender" or value in ("male", "female")


def declared_until(days: int, at: datetime) -> datetime:
    """Until when a declaration of today holds."""
    return midnight(city_day(at) + timedelta(days=days + 1))
