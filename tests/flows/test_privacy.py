"""What people entrust to the platform stays where it belongs.

Planted people register, fill in forms and hand in documents; then every log, event, metric and
column of the databases is searched for every value that they gave. The sandbox is the outside
world (it is told a receiver's address, for one) and is not searched.
"""

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from beam.journey.stage import Stage
from beam.journey.steps import CITIZEN, Journey

from .cast import Cast
from .people import People, Person
from .story import Story, prepare, register

CROWD = 19
"""With the story's person 200 planted values or more."""
OPEN_COLUMNS: dict[str, str] = {
    "case.task.opinion": "a department's own reasons, written by staff for the file",
    "case.correction.what": "what a department asks for, written by staff",
    "case.case.reason": "the reason of a decision, written by staff",
    "case.timeline_entry.note": "staff's words in the case's hash chain",
    "payment.channel_notice.body": "the channel's own call-back, encrypted by the channel",
}
"""`database.table.column` that may hold free text in the clear, each with its reason. None of the
planted values is looked for there; anything else that holds one fails."""


def spellings(value: str) -> set[str]:
    """How a value may look where texts are escaped, encoded or cut."""
    raw = value.encode()
    return {
        value,
        quote(value),
        quote(value, safe=""),
        json.dumps(value)[1:-1],
        json.dumps(value)[1:-1].replace("\\", "\\\\"),
        base64.b64encode(raw).decode().rstrip("=")[:-1],
        raw.hex(),
    }


def _pattern(names: list[str], depth: int = 4) -> str:
    """An expression for any of the names that decides by the first letters, and so is quick."""
    if depth == 0 or len(names) == 1 or min(map(len, names)) <= 1:
        return "|".join(re.escape(name) for name in names)
    by_first: dict[str, list[str]] = {}
    for name in names:
        by_first.setdefault(name[0], []).append(name[1:])
    return "|".join(
        f"{re.escape(first)}(?:{_pattern(rest, depth - 1)})" for first, rest in by_first.items()
    )


class Needles:
    """All planted values in all spellings, searched for in one go."""

    def __init__(self, people: list[Person]) -> None:
        self.names = {
            spelling: f"{field} of person {n}"
            for n, person in enumerate(people)
            for field, value in person.planted().items()
            for spelling in spellings(value)
        }
        self.count = sum(len(person.planted()) for person in people)
        self._any = re.compile(_pattern(sorted(self.names, key=len, reverse=True)))

    def found_in(self, text: str) -> set[str]:
        return {self.names[found] for found in self._any.findall(text)}


@pytest.fixture(scope="module")
async def needles(cast: Cast, story: Story, people: People) -> Needles:
    """A crowd of planted people with drafts, mistakes and problems, beside the story's person."""

    async def one(person: Person) -> None:
        stage = Stage(cast.place)
        try:
            door = stage.doors[CITIZEN] = await register(cast, person)
            journey = Journey(stage)
            await prepare(journey, person)
            await _blunder(door.client, door.token, journey.case_id, person)
        finally:
            await stage.close()

    crowd = [people.new() for _ in range(CROWD)]
    for start in range(0, CROWD, 4):
        await asyncio.gather(*(one(person) for person in crowd[start : start + 4]))
    return Needles([story.person, *crowd])


async def _blunder(client: httpx.AsyncClient, token: str, case_id: str, person: Person) -> None:
    """Type personal data where it does not belong; nothing may keep or repeat it."""
    headers = {"authorization": f"Bearer {token}", "idempotency-key": f"k-{case_id}"}
    wrong = {"name": person.name * 30, "mobile": person.id_number, "street": person.street * 20}
    bad = {"form": {"contact_phone": person.id_number, person.phone: person.name}}
    login = {"login": person.phone, "password": person.password + "x", "return_to": person.street}
    said = {name: person.planted()[name] for name in ("name", "phone", "password")}
    registration = {**said, "id_number": person.id_number[:-1]}
    for request in (
        client.post("/v1/addresses", json=wrong, headers=headers),
        client.patch(f"/v1/cases/{case_id}", json=bad, headers={**headers, "if-match": '"3"'}),
        client.post(f"/v1/cases/{case_id}/decide", json={"reason": person.name}, headers=headers),
        client.post("/v1/accounts", json=registration, headers=headers),
        client.post("/oauth2/token", data={"grant_type": "password", **login}),
        client.post("/oauth2/login", data=login),
        client.post("/v1/verify", json={"token": person.id_number}),
    ):
        answer = await request
        if "problem" in answer.headers.get("content-type", ""):
            assert Needles([person]).found_in(answer.text) == set(), answer.text


async def test_enough_was_planted(needles: Needles) -> None:
    assert needles.count >= 200
    plain = next(spelling for spelling in needles.names if spelling.isalnum())
    assert needles.found_in(json.dumps("x" + plain + "y", ensure_ascii=False))


async def test_logs(needles: Needles, cast: Cast) -> None:
    """Neither a log of a program nor of the broker or the database names anybody."""
    await asyncio.sleep(1.2)
    logs = cast.logs()
    for file in (cast.data / "postgres").glob("**/*.log"):
        logs[f"postgres {file.name}"] = file.read_text(errors="replace")
    assert sum(text.count('"route": "/v1/cases/{case_id}"') for text in logs.values()) > 10
    assert {name: found for name, text in logs.items() if (found := needles.found_in(text))} == {}


async def test_traces(needles: Needles, cast: Cast) -> None:
    """No span names anybody, in its name, its attributes or the addresses that it tells."""
    text = (cast.data.parent / "traces.jsonl").read_text("utf-8", "replace")
    assert "/v1/cases/{case_id}" in text
    assert text.count('"spanId"') > 100
    assert needles.found_in(text) == set()


async def test_metrics(needles: Needles, cast: Cast) -> None:
    for name, base in cast.run["services"].items():
        answer = await cast.client.get(f"{base}/metrics")
        assert "beam_http_requests_total" in answer.text
        assert needles.found_in(answer.text) == set(), name


async def test_feed(needles: Needles, cast: Cast, story: Story) -> None:
    """No event of the feed names anybody."""
    headers, after, texts = cast.headers("operator"), 0, []
    while True:
        url = f"{cast.place.gateway}/v1/events?after={after}&limit=1000"
        answer = await cast.client.get(url, headers=headers)
        page = answer.json()
        if not page["events"]:
            break
        texts.append(answer.text)
        after = page["last"]
    assert any(story.ids["case_id"] in text for text in texts)
    assert [found for text in texts if (found := needles.found_in(text))] == []


async def test_stream(needles: Needles, cast: Cast, story: Story) -> None:
    """Nor does any message of the broker's stream, as it lies in its store."""
    seen = []
    for file in (cast.data / "nats" / "store").rglob("*"):
        if file.is_file():
            seen.append(file.read_bytes().decode("utf-8", "replace"))
    assert any(story.ids["case_id"] in text for text in seen), "the store was not found"
    assert [found for text in seen if (found := needles.found_in(text))] == []


def _rows(values: Any) -> Iterator[str]:
    for value in values:
        if isinstance(value, bytes):
            yield value.decode("utf-8", "replace")
            yield value.decode("utf-16-le", "replace")
        elif value is not None:
            yield str(value)


async def test_databases(needles: Needles, cast: Cast, story: Story) -> None:
    """Every column of every table that a service can read, whatever its type."""
    found, columns, rows = [], 0, 0
    for service in cast.run["postgres"]:
        async with cast.database(service) as database:
            known = await database.fetch(
                "select table_name, column_name from information_schema.columns"
                " where table_schema = 'public' and data_type in"
                " ('text', 'character varying', 'jsonb', 'json', 'bytea', 'ARRAY')"
            )
            for table, column in known:
                where = f"{service}.{table}.{column}"
                query = f'select distinct "{column}" from "{table}"'
                bare = f'select "{column}" from "{table}"'
                values = await database.fetch(bare if "json" in column else query)
                columns += 1
                if where in OPEN_COLUMNS:
                    continue
                for text in _rows(value for (value,) in values):
                    rows += 1
                    found += [(where, name) for name in needles.found_in(text)]
    assert sorted(set(found)) == []
    assert columns > 150
    assert rows > 1000


def test_the_exceptions_are_columns() -> None:
    """An exception for a column that is no more would hide nothing and mislead."""
    assert all(len(where.split(".")) == 3 and len(why) > 10 for where, why in OPEN_COLUMNS.items())
