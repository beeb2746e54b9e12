"""A key is one statement at the door and one before the commit, with the events of the request."""

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event

from contracts.event import Event
from kit.auth import Applicant
from kit.errors import Conflict
from kit.outbox import emit
from kit.routing import In, Out, Session, router
from kit.testing import Ground, key

from . import toy
from .toy import beside


class _Opened(Event):
    TYPE: ClassVar[str] = "helpdesk.opened.v1"
    number: int


class ThingIn(In):
    number: int
    events: int = 2


class ThingOut(Out):
    number: int


routes = router(prefix="/v1/things")


@routes.post("", status_code=201)
async def open_thing(session: Session, caller: Applicant, given: ThingIn) -> ThingOut:
    for version in range(given.events):
        emit(session, _Opened(number=given.number), subject=caller.subject, version=version + 1)
    if given.number < 0:
        raise Conflict("不可以。", "Not possible.")
    return ThingOut(number=given.number)


@pytest.fixture
async def app(ground: Ground, nats_url: str) -> AsyncIterator[FastAPI]:
    async with toy.serving(routes, ground, nats_url) as made:
        yield made


@pytest.fixture
async def client(app: FastAPI, ground: Ground) -> AsyncIterator[httpx.AsyncClient]:
    async with toy.client_of(app, ground) as made:
        yield made


async def counted(app: FastAPI) -> tuple[int, int]:
    """(events, kept answers)"""
    async with beside(app) as database:
        row = await database.fetchrow(
            "select (select count(*) from outbox), "
            "(select count(*) from idempotency_key where status = 201)"
        )
    return tuple(row)


async def test_a_creation_is_two_statements_beside_its_own(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    sent: list[str] = []

    @event.listens_for(app.state.runtime.engine.sync_engine, "before_cursor_execute")
    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "idempotency_key" in statement or "into outbox" in statement:
            sent.append(statement)

    answer = await client.post("/v1/things", json={"number": 1}, headers=key())
    assert (answer.status_code, answer.json()) == (201, {"number": 1})
    assert len(sent) == 2, sent
    assert await counted(app) == (2, 1)


@pytest.mark.parametrize("events", [0, 3])
async def test_the_same_key_gives_the_same_answer_and_tells_nothing_again(
    app: FastAPI, client: httpx.AsyncClient, events: int
) -> None:
    mine, body = key(), {"number": 5, "events": events}
    first = await client.post("/v1/things", json=body, headers=mine)
    again = await client.post("/v1/things", json=body, headers=mine)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotent-replayed"] == "true"
    other = await client.post("/v1/things", json={"number": 6}, headers=mine)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await counted(app) == (events, 1)


async def test_what_failed_keeps_nothing_and_may_be_repeated(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    mine = key()
    refused = await client.post("/v1/things", json={"number": -1}, headers=mine)
    assert refused.status_code == 409
    assert await counted(app) == (0, 0)
    made = await client.post("/v1/things", json={"number": 1}, headers=mine)
    assert made.status_code == 201
    assert await counted(app) == (2, 1)


async def test_who_waits_for_the_same_key_is_told_after_a_while(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    mine, row = key(), "values ('acc_1', 'POST /v1/things', $1, 'f')"
    async with beside(app) as other, other.transaction():
        await other.execute(
            f"insert into idempotency_key (client, route, key, fingerprint) {row}",
            mine["idempotency-key"],
        )
        answer = await client.post("/v1/things", json={"number": 1}, headers=mine)
    assert (answer.status_code, answer.json()["code"]) == (409, "in_progress")
    assert answer.headers["retry-after"] == "1"
    async with beside(app) as database:
        assert await database.fetchval("show lock_timeout") == "0"


async def test_a_lock_held_too_long_is_not_now(app: FastAPI, client: httpx.AsyncClient) -> None:
    async with beside(app) as other, other.transaction():
        await other.execute("lock table outbox in exclusive mode")
        answer = await client.post("/v1/things", json={"number": 1}, headers=key())
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"]
    assert await counted(app) == (0, 0)
