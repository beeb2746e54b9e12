"""Both ways through a service, the lane and FastAPI's own, give the same answer byte for byte.

Every route of every service gets the same ordinary, odd and hostile requests twice: as it is
served, and with the lane taken out. No database is there, so that an answer depends on nothing
but the request; what comes out of routes that succeed is compared on an app of our own.
"""

import json
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from fastapi import Body, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import Field

from kit import signatures
from kit.app import create_app
from kit.auth import Anyone, Applicant, Public
from kit.errors import Conflict
from kit.pages import Cursor, Limit, Page
from kit.routing import IfMatch, In, Out, Session, check_version, etag, not_modified, router
from kit.settings import ServiceSettings

from .twins import JSON, KEY, Line, Shot, Twins, compare, twins

SERVICES = (
    "case", "catalog", "exchange", "helpdesk", "identity", "licence", "logistics", "payment"
)  # fmt: skip


@pytest.fixture(params=SERVICES)
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Twins]:
    package = f"{request.param}_svc"
    async for pair in twins(tmp_path, import_module(f"{package}.main").create_app, package):
        yield pair


async def test_every_route_of_a_service_answers_the_same_on_both_ways(service: Twins) -> None:
    await compare(service, every=15)


@pytest.mark.long
async def test_the_same_with_all_that_is_odd(service: Twins) -> None:
    await compare(service, every=1)


def test_no_route_of_a_service_is_left_to_the_slow_way() -> None:
    """One may be, if it needs what the lane does not know: then say here which and why."""
    for name in SERVICES:
        settings = import_module(f"{name}_svc.settings").Settings(
            database_url="postgresql+asyncpg://", environment="test"
        )
        app = import_module(f"{name}_svc.main").create_app(settings)
        for context in iter_route_contexts(app.routes):
            assert isinstance(context.original_route, APIRoute)
            assert signatures.compiled(context) is not None, context.path


class ThingIn(In):
    name: str = Field(max_length=20)
    count: int = 1
    due: date | None = None
    tags: tuple[Literal["a", "b"], ...] = ()


class ThingOut(Out):
    id: str
    name: str
    count: int
    due: date | None = None
    amount: Decimal = Decimal("1.50")


class State(StrEnum):
    OPEN = "open"


async def _colour(response: Response, colour: Annotated[str | None, Header()] = None) -> str:
    response.headers["x-colour"] = colour or "none"
    response.headers.append("vary", "colour")
    return colour or "none"


def _in_a_thread(request: Request) -> str:
    return request.url.path


Colour = Annotated[str, Depends(_colour)]
things = router(prefix="/v1/things")
"""What our routes do and a little more, none of it with a database."""


@things.get("")
async def many(
    request: Request,
    _: Public,
    tag: Annotated[list[Annotated[str, Query(max_length=3)]] | None, Query()] = None,
    state: State | None = None,
    kind: Literal["x", "y"] = "x",
    old: bool = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    page: Annotated[int, Query(alias="the-page", ge=0)] = 0,
) -> Page[ThingOut]:
    name = f"{tag} {state} {kind} {old} {limit} {cursor} {page}"
    return Page(items=[ThingOut(id=request.url.path, name=name, count=1)])


@things.get("/first")
async def first(_: Public) -> dict[str, Any]:
    return {"first": [1, "二", 1.5]}


@things.get("/{thing_id}")
async def one(request: Request, response: Response, _: Anyone, thing_id: str) -> Any:
    if answer := not_modified(request, 3):
        return answer
    response.headers["etag"] = etag(3)
    return ThingOut(id=thing_id, name="名", count=1).model_dump()


@things.get("/last")
async def never(_: Public) -> dict[str, Any]:
    raise AssertionError("the route before it takes its address")


@things.post("", status_code=201)
async def make(
    response: Response, session: Session, caller: Applicant, colour: Colour, given: ThingIn
) -> ThingOut:
    response.headers["location"] = f"/v1/things/{given.count}"
    response.set_cookie("seen", "1")
    return ThingOut(id=caller.subject, name=given.name + colour, count=given.count, due=given.due)


@things.put("/{number}/parts/{part}")
async def put(
    _: Public, number: int, part: str, seen: IfMatch, given: ThingIn | None = None
) -> ThingOut:
    check_version(3, seen, required=True)
    return ThingOut(id=f"{number}{part}", name=given.name if given else "", count=number)


@things.post("/{thing_id}/state")
async def move(
    response: Response, _: Public, thing_id: str, given: Annotated[State, Body()]
) -> dict[str, str]:
    response.status_code = 202
    return {"id": thing_id, "state": given}


@things.delete("/{thing_id}", status_code=204)
async def drop(_: Public, thing_id: str) -> None:
    return None


@things.post("/{thing_id}/failures/{kind}")
async def fail(_: Public, thing_id: str, kind: str) -> Response:
    wrong: dict[str, Exception] = {
        "problem": Conflict("冲突", "Conflict", headers={"retry-after": "3"}, more=[1]),
        "http": HTTPException(418, headers={"x-pot": "tea"}),
        "away": ConnectionRefusedError(111, "refused"),
        "file": FileNotFoundError(2, "none"),
        "bug": ValueError("x"),
        "group": ExceptionGroup("both", [ValueError("x")]),
    }
    if kind in wrong:
        raise wrong[kind]
    return PlainTextResponse(kind, 299, {"x-kind": "plain"})


@things.get("/{thing_id}/file")
async def file(_: Public, thing_id: str) -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield thing_id.encode()
        if thing_id == "1":
            raise ValueError("half way")

    return StreamingResponse(parts(), media_type="text/csv")


@things.get("/{thing_id}/wrong")
async def wrong_answer(_: Public, thing_id: str) -> ThingOut:
    return {"id": thing_id}  # type: ignore[return-value]


@things.get("/{thing_id}/thread")
async def slow(_: Public, thing_id: str, path: Annotated[str, Depends(_in_a_thread)]) -> str:
    return path


@things.get("/{rest:path}/rest")
async def rest(_: Public, rest: str) -> Response:
    return PlainTextResponse(rest)


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Twins]:
    def build(settings: ServiceSettings) -> FastAPI:
        return create_app(settings, title="things", routers=[things], max_body=2_000_000)

    async for pair in twins(tmp_path, build, service="things"):
        yield pair


async def test_what_succeeds_and_what_fails_inside_is_the_same(own: Twins) -> None:
    await compare(own, every=4)
    person, path = own.token("person"), "/v1/things"
    seen: dict[str, int] = {}

    async def status(method: str, path: str, body: Any = None, *headers: Line) -> int:
        chunks = () if body is None else (json.dumps(body).encode(),)
        shot = Shot(method, path, headers=(person, JSON, KEY, *headers), chunks=chunks or (b"",))
        answer = await own.fire(shot)
        return int(answer.messages[0]["status"])

    for kind in ("problem", "http", "away", "file", "bug", "group", "other"):
        seen[kind] = await status("POST", f"{path}/1/failures/{kind}")
    wanted = {"problem": 409, "http": 418, "away": 503, "file": 500, "bug": 500, "group": 500}
    assert seen == wanted | {"other": 299}
    thing = {"name": "名", "tags": ["a"], "due": "2026-01-01"}
    assert await status("POST", path, thing, (b"colour", b"red"), (b"colour", b"b")) == 201
    assert await status("POST", path, thing | {"tags": ["c"]}) == 422
    assert await status("POST", path, [thing]) == 422
    for seen_before, code in ((b'"3"', 200), (b'W/"3"', 200), (b'"4"', 412), (b"x", 412)):
        found = await status("PUT", f"{path}/7/parts/x", thing, (b"if-match", seen_before))
        assert found == code
    assert await status("PUT", f"{path}/7/parts/x", thing) == 428
    assert await status("PUT", f"{path}/seven/parts/x", thing) == 422
    assert await status("PUT", f"{path}/7/parts/x", None, (b"if-match", b"*")) == 428
    assert await status("DELETE", f"{path}/7") == 204
    assert await status("POST", f"{path}/7/state", "open") == 202
    assert await status("GET", f"{path}/last") == 200
    assert await status("GET", f"{path}/first") == 200
    assert await status("GET", f"{path}/7", None, (b"if-none-match", b'"3"')) == 304
    assert await status("GET", f"{path}/7/wrong") == 500
    assert await status("GET", f"{path}/1/file") == 200
    assert await status("GET", f"{path}/a/b/rest") == 200
    assert not own.unequal, own.unequal


async def test_a_signature_that_the_lane_does_not_know_is_served_by_fastapi(own: Twins) -> None:
    slow_ones = [
        context.name
        for context in iter_route_contexts(own.quick.routes)
        if signatures.compiled(context) is None
    ]
    assert slow_ones == ["slow"]
    answer = await own.fire(Shot("GET", "/v1/things/x/thread"))
    assert (answer.messages[0]["status"], own.unequal) == (200, [])
