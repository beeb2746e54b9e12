"""The home of the portal: one call, one round, and what it says of a pillar that is away."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uvicorn

from gateway.portal import HomeLicence, HomeMatter, HomePayment, HomeRating

from .conftest import Answer, Keys, Opener, Recorder, request, served, talk

NOW = datetime.now(UTC)
TODAY = NOW.date()
MATTER = {"case_id": "case_1", "item_code": "A05", "item_name": "食品经营许可", "dept": "SAMR"}
LICENCE = {"id": "lic_1", "licence_type": "LT-FOOD", "name": "食品经营许可证"}
PAYMENT = {"case_id": "case_1", "item_name": "食品经营许可", "amount_fen": 8000}
RATING = {"case_id": "case_1", "item_name": "食品经营许可"}
LATER = (NOW + timedelta(days=1)).isoformat()


def day(days: int) -> str:
    return (TODAY + timedelta(days=days)).isoformat()


PAGES: dict[str, list[dict[str, Any]]] = {
    "/v1/me/matters": [{**MATTER, "state": "in_review", "turn": "dept", "changed_at": LATER}],
    "/v1/me/licences/in-force": [
        {**LICENCE, "id": "lic_soon", "valid_until": day(30)},
        {**LICENCE, "id": "lic_long", "valid_until": day(400)},
        {**LICENCE, "id": "lic_ever", "valid_until": None},
    ],
    "/v1/payments": [
        {**PAYMENT, "id": "pay_1", "state": "created", "expires_at": LATER},
        {**PAYMENT, "id": "pay_2", "state": "paid", "expires_at": LATER},
    ],
    "/v1/ratings": [
        {**RATING, "id": "rate_1", "state": "invited", "due": day(3)},
        {**RATING, "id": "rate_2", "state": "invited", "due": day(-3)},
        {**RATING, "id": "rate_3", "state": "rated", "due": day(3)},
    ],
}


class Pillar:
    """A service that answers the pages above; `odd` and `slow` say how it fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tokens: set[bytes] = set()
        self.status, self.odd, self.seconds = 200, False, 0.0
        self.challenge = b"Bearer"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        self.tokens.add(dict(scope["headers"])[b"authorization"])
        await asyncio.sleep(self.seconds)
        items = [{"odd": 1}] if self.odd else PAGES.get(scope["path"], [])
        head = [(b"content-type", b"application/json"), (b"www-authenticate", self.challenge)]
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        body = json.dumps({"items": items, "next": None}).encode()
        await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def pillar() -> AsyncIterator[tuple[Pillar, str]]:
    app = Pillar()
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    async with served(config) as (_, port):
        yield app, f"http://127.0.0.1:{port}"


ALL = ("exchange", "licence", "payment", "helpdesk")


async def home(port: int, token: str) -> Answer:
    raw = request(path="/v1/portal/home", Authorization=f"Bearer {token}")
    [answer] = await talk(port, raw)
    return answer


async def test_everything_in_one_round(open_door: Opener, recorder: Recorder, keys: Keys) -> None:
    token = keys.token()
    async with pillar() as (app, url):
        urls = {f"{name}_url": url for name in ALL}
        async with open_door(recorder.port, **urls) as door:
            answer = await home(door.port, token)
    assert answer.status == 200
    said = json.loads(answer.body)
    assert said["unreachable"] == []
    assert [m["turn"] for m in said["matters"]] == ["dept"]
    assert [lic["id"] for lic in said["licences_expiring"]] == ["lic_soon"]
    assert [p["id"] for p in said["payments_due"]] == ["pay_1"]
    assert [r["id"] for r in said["ratings_invited"]] == ["rate_1"]
    assert sorted(app.asked) == sorted(PAGES)
    assert app.tokens == {f"Bearer {token}".encode()}
    assert answer.header("cache-control") == "no-store"


async def test_a_pillar_that_is_away_or_slow_or_odd_costs_its_own_part(
    open_door: Opener, recorder: Recorder, keys: Keys
) -> None:
    async with pillar() as (_, url), pillar() as (slow, slow_url), pillar() as (odd, odd_url):
        slow.seconds, odd.odd = 4.0, True
        urls = {"exchange_url": url, "licence_url": slow_url, "helpdesk_url": odd_url}
        async with open_door(recorder.port, **urls) as door:
            answer = await home(door.port, keys.token())
    assert answer.status == 200
    said = json.loads(answer.body)
    assert said["unreachable"] == ["helpdesk", "licence", "payment"]
    assert len(said["matters"]) == 1
    assert [said[k] for k in ("licences_expiring", "payments_due", "ratings_invited")] == [None] * 3


async def test_a_step_up_of_a_pillar_is_told(
    open_door: Opener, recorder: Recorder, keys: Keys
) -> None:
    async with pillar() as (app, url):
        app.status = 401
        app.challenge = b'Bearer error="insufficient_user_authentication", acr_values="L2"'
        urls = {f"{name}_url": url for name in ALL}
        async with open_door(recorder.port, **urls) as door:
            answer = await home(door.port, keys.token())
    assert answer.status == 401
    assert answer.header("www-authenticate") == app.challenge.decode()


@pytest.mark.parametrize(("claims", "status"), [({"kind": "staff"}, 403), ({"exp": 1}, 401)])
async def test_who_has_no_home(
    open_door: Opener, recorder: Recorder, keys: Keys, claims: dict[str, Any], status: int
) -> None:
    async with open_door(recorder.port) as door:
        assert (await home(door.port, keys.token(**claims))).status == status
        [answer] = await talk(door.port, request(path="/v1/portal/home"))
        assert answer.problem["code"] == "unauthenticated"


@pytest.mark.parametrize(
    ("model", "path", "service"),
    [
        (HomeMatter, "/v1/me/matters", "exchange"),
        (HomeLicence, "/v1/me/licences/in-force", "licence"),
        (HomePayment, "/v1/payments", "payment"),
        (HomeRating, "/v1/ratings", "helpdesk"),
    ],
)
def test_what_is_read_is_what_the_services_publish(model: Any, path: str, service: str) -> None:
    from beam.contracts import openapi_of
    from beam.programs import SERVICES

    document = openapi_of(next(p for p in SERVICES if p.name == service))
    schemas = document["components"]["schemas"]
    answer = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
    page = schemas[answer["schema"]["$ref"].rpartition("/")[2]]
    item = schemas[page["properties"]["items"]["items"]["$ref"].rpartition("/")[2]]
    assert set(model.model_fields) <= set(item["properties"])
