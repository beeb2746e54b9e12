"""What HTTP expects of any route: HEAD, the media type of a body, lists of entity tags, and that
a refusal says what would fit."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Annotated, Any, Literal

import httpx
import pytest
from fastapi import Query, Request, Response

from kit.auth import Applicant, Public
from kit.pages import Cursor, Page, Pager
from kit.retiring import retiring
from kit.routing import In, Out, etag, not_modified, router
from kit.testing import Ground, key

from . import toy


class ThingIn(In):
    number: int
    colour: Literal["red", "green"] = "red"


class ThingOut(Out):
    number: int


routes = router(prefix="/v1/things")


@routes.get("/3", response_model=ThingOut)
async def read_thing(_: Public, request: Request, response: Response) -> Any:
    response.headers["etag"] = etag(3)
    return not_modified(request, 3) or ThingOut(number=3)


@routes.get("")
async def list_things(
    _: Public,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=9)] = 5,
    cursor: Cursor = None,
) -> Page[ThingOut]:
    pager = Pager(request, limit, cursor, {})
    numbers = range((pager.after or 0) + 1, 8)
    return pager.page(numbers, lambda n: ThingOut(number=n), lambda n: [n])


@routes.post("", status_code=201)
async def open_thing(caller: Applicant, body: ThingIn) -> ThingOut:
    return ThingOut(number=body.number)


@routes.get(
    "/old", **retiring(since=date(2027, 1, 1), sunset=date(2027, 7, 1), instead="/v1/things/3")
)
async def read_old_thing(_: Public) -> ThingOut:
    return ThingOut(number=3)


@pytest.fixture(scope="module")
async def client(ground: Ground, nats_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with toy.serving(routes, ground, nats_url) as app, toy.client_of(app, ground) as made:
        yield made


async def test_head_is_get_without_the_body(client: httpx.AsyncClient) -> None:
    whole, head = await client.get("/v1/things/3"), await client.head("/v1/things/3")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-type", "content-length"):
        assert head.headers[name] == whole.headers[name]
    assert (await client.head("/v1/nothing")).status_code == 404


@pytest.mark.parametrize(
    "sent", ['"3"', 'W/"3"', '"2", "3"', '"2" , W/"3"'], ids=["one", "weak", "list", "weak in list"]
)
async def test_a_tag_that_is_current(client: httpx.AsyncClient, sent: str) -> None:
    answer = await client.get("/v1/things/3", headers={"if-none-match": sent})
    assert (answer.status_code, answer.headers["etag"]) == (304, '"3"')


@pytest.mark.parametrize("sent", ['"33"', '"2", "4"', "3", ""])
async def test_a_tag_that_is_not(client: httpx.AsyncClient, sent: str) -> None:
    answer = await client.get("/v1/things/3", headers={"if-none-match": sent})
    assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
async def test_json_under_another_name(client: httpx.AsyncClient, kind: str) -> None:
    """What curl sends when the Content-Type was forgotten."""
    headers = {"content-type": kind, "idempotency-key": "k"} if kind else {"idempotency-key": "k"}
    answer = await client.post("/v1/things", content=b'{"number":1}', headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (415, "media_type")
    assert "application/json" in problem["detail"]
    assert answer.headers["accept"] == "application/json"


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/x+json"])
async def test_json_by_its_name(client: httpx.AsyncClient, ground: Ground, kind: str) -> None:
    answer = await client.post(
        "/v1/things", content=b'{"number":1}', headers={"content-type": kind} | key()
    )
    assert answer.status_code == 201


async def test_a_refusal_says_what_would_fit(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/things", params={"limit": 77})
    [error] = answer.json()["errors"]
    assert error["message_en"] == "Must be at most 9."
    assert "77" not in str(error)
    body = {"number": "many", "colour": "ultraviolet"}
    answer = await client.post("/v1/things", json=body, headers=key())
    told = {e["pointer"]: e["message_en"] for e in answer.json()["errors"]}
    assert told == {
        "/body/number": "Send a whole number here.",
        "/body/colour": "Must be one of 'red' or 'green'.",
    }
    assert "ultraviolet" not in answer.text
    assert "'red'、'green'" in answer.text


async def test_the_next_page_is_told_in_the_head_too(client: httpx.AsyncClient) -> None:
    first = await client.get("/v1/things", params={"limit": 4})
    assert first.links["next"]["url"] == first.json()["next"]
    last = await client.get(first.links["next"]["url"])
    assert [thing["number"] for thing in last.json()["items"]] == [5, 6, 7]
    assert "link" not in last.headers


async def test_a_body_that_is_not_there(client: httpx.AsyncClient) -> None:
    [error] = (await client.post("/v1/things", headers=key())).json()["errors"]
    assert (error["pointer"], error["message_en"]) == ("/body", "Send a JSON body.")


async def test_a_route_that_will_go_says_so(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/things/old")
    assert answer.headers["deprecation"] == "@1798761600"
    assert answer.headers["sunset"] == "Thu, 01 Jul 2027 00:00:00 GMT"
    assert answer.links["successor-version"]["url"] == "/v1/things/3"
    assert "sunset" not in (await client.get("/v1/things/3")).headers
    app: Any = client._transport.app  # type: ignore[attr-defined]
    operation = app.openapi()["paths"]["/v1/things/old"]["get"]
    assert operation["deprecated"]
    assert {"Deprecation", "Sunset"} <= operation["responses"]["200"]["headers"].keys()
    with pytest.raises(ValueError, match="after"):
        retiring(since=date(2027, 1, 1), sunset=date(2027, 1, 1), instead="/")


async def test_an_address_that_is_not_there(client: httpx.AsyncClient) -> None:
    problem = (await client.get("/v1/nothing", headers={"accept-language": "en"})).json()
    assert problem["title"] == "Not found" != problem["detail"]
