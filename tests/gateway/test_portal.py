"""The home of the portal: one call, one round, and what it says of a pillar that is away."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uvicorn

from gateway.portal import (
    HomeItem,
    HomeLicence,
    HomeMatter,
    HomePackage,
    HomePayment,
    HomePrincipal,
    HomeRating,
    HomeTag,
)
from gateway.suggestions import WORDS
from gateway.table import SERVICES

from ..identity.holders import Holder
from .conftest import Answer, Keys, Opener, Recorder, request, served, talk

NOW = datetime.now(UTC)
TODAY = NOW.date()
MATTER = {"case_id": "case_1", "item_code": "A05", "item_name": "食品经营许可", "dept": "SAMR"}
LICENCE = {"id": "lic_1", "licence_type": "LT-FOOD", "name": "食品经营许可证"}
PAYMENT = {"case_id": "case_1", "item_name": "食品经营许可", "amount_fen": 8000}
RATING = {"case_id": "case_1", "item_name": "食品经营许可"}
SERVICE = {"name": "某事项", "dept_name": "某局", "applicant_kinds": ["person"]}
LATER = (NOW + timedelta(days=1)).isoformat()


def day(days: int) -> str:
    return (TODAY + timedelta(days=days)).isoformat()


PAGES: dict[str, list[dict[str, Any]]] = {
    "/v1/me/principals": [
        {
            "act_for": "ent_1",
            "kind": "enterprise",
            "name": "某公司",
            "role": "administrator",
            "item_codes": None,
            "valid_until": None,
        },
    ],
    "/v1/me/profile/tags": [{"code": "food_business", "name": "食品经营者"}],
    "/v1/me/matters": [
        {**MATTER, "state": "in_review", "turn": "authority", "changed_at": LATER},
        {
            **MATTER,
            "case_id": "case_2",
            "state": "correction_requested",
            "turn": "applicant",
            "changed_at": LATER,
        },
    ],
    "/v1/packages": [{"code": "P01", "name": "开办餐饮店", "steps": []}],
    "/v1/items": [
        {**SERVICE, "code": "A05", "visits": 0},
        {**SERVICE, "code": "B01", "visits": 2, "everyday_terms": ["开餐饮店"]},
        {**SERVICE, "code": "B02", "visits": 1},
    ],
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
        self.kinds: list[bytes] = []
        self.callers: set[bytes] = set()
        self.granted = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        fields = dict(scope["headers"])
        self.kinds.append(scope["query_string"])
        self.tokens.add(fields.get(b"authorization", b""))
        if scope["path"] == "/oauth2/token":
            self.granted += 1
            said = {"access_token": f"own-{self.granted}", "expires_in": 600}
            await self._say(send, json.dumps(said).encode())
            return
        if b"x-beam-caller" in fields:
            self.callers.add(fields[b"x-beam-caller"])
        await asyncio.sleep(self.seconds)
        items = [{"odd": 1}] if self.odd else PAGES.get(scope["path"], [])
        said = {"items": items, "next": None}
        if scope["path"].startswith("/v1/ops/"):
            said = {
                "ready": True,
                "bus": {"dead_letters": 0, "unsent": 0, "oldest_unsent_seconds": 0},
                "checks": {},
            }
        await self._say(send, json.dumps(said).encode())

    async def _say(self, send: Any, body: bytes) -> None:
        head = [
            (b"content-type", b"application/json"),
            (b"www-authenticate", self.challenge),
            (b"cache-control", b"public, max-age=60"),
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def pillar() -> AsyncIterator[tuple[Pillar, str]]:
    app = Pillar()
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    async with served(config) as (_, port):
        yield app, f"http://127.0.0.1:{port}"


ALL = ("identity", "exchange", "licence", "payment", "helpdesk", "catalog")


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
    assert [m["turn"] for m in said["matters"]] == ["authority", "applicant"]
    assert said["packages"] == [{"code": "P01", "name": "开办餐饮店"}]
    assert [s["code"] for s in said["services"]] == ["B01", "B02"], "A05 is under way"
    assert [s["for_tags"] for s in said["services"]] == [["food_business"], []]
    assert [p["act_for"] for p in said["may_act_for"]] == ["ent_1"]
    assert [t["code"] for t in said["tags"]] == ["food_business"]
    assert b"kind=person&limit=100" in app.kinds
    messages = said["messages"]
    assert messages["unread"] == 4
    assert [(m["about"], m["id"]) for m in messages["latest"]] == [
        ("matter", "case_2"), ("payment", "pay_1"), ("rating", "rate_1"), ("licence", "lic_soon")
    ]  # fmt: skip
    assert [lic["id"] for lic in said["licences_expiring"]] == ["lic_soon"]
    assert [p["id"] for p in said["payments_due"]] == ["pay_1"]
    assert [r["id"] for r in said["ratings_invited"]] == ["rate_1"]
    assert sorted(app.asked) == sorted(PAGES)
    assert app.tokens == {f"Bearer {token}".encode(), b""}, "the catalogue is asked as nobody"
    assert app.callers == set()
    assert answer.header("cache-control") == "no-store"


async def test_a_pillar_that_is_away_or_slow_or_odd_costs_its_own_part(
    open_door: Opener, recorder: Recorder, keys: Keys
) -> None:
    async with pillar() as (_, url), pillar() as (slow, slow_url), pillar() as (odd, odd_url):
        slow.seconds, odd.odd = 4.0, True
        urls = {"exchange_url": url, "licence_url": slow_url, "helpdesk_url": odd_url}
        urls["catalog_url"] = odd_url
        async with open_door(recorder.port, **urls) as door:
            answer = await home(door.port, keys.token())
    assert answer.status == 200
    said = json.loads(answer.body)
    assert said["unreachable"] == ["catalog", "helpdesk", "identity", "licence", "payment"]
    assert said["may_act_for"] is said["tags"] is None
    assert len(said["matters"]) == 2
    gone = ("licences_expiring", "payments_due", "ratings_invited", "packages", "services")
    assert [said[part] for part in gone] == [None] * 5
    assert [m["about"] for m in said["messages"]["latest"]] == ["matter"]


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


async def test_a_bound_token_is_shown_with_its_proof_and_vouched_for(
    open_door: Opener, recorder: Recorder, keys: Keys
) -> None:
    holder = Holder()
    token = keys.token(cnf={"jkt": holder.jkt})
    ops = keys.token("stf_1", kind="staff", roles=["operator"], cnf={"jkt": holder.jkt})

    def asked(path: str, bearer: str, proof: str) -> bytes:
        return request(path=path, Authorization=f"DPoP {bearer}", DPoP=proof)

    def proof(path: str, bearer: str) -> str:
        return holder.proof("GET", path, token=bearer)

    async with pillar() as (app, url):
        urls = {f"{name}_url": url for name in SERVICES} | {"token_url": f"{url}/oauth2/token"}
        async with open_door(recorder.port, service_secret="s" * 32, **urls) as door:
            once = proof("/v1/portal/home", token)
            raw = asked("/v1/portal/home", token, once)
            for answer, status in zip(await talk(door.port, raw * 2), (200, 401), strict=True):
                assert answer.status == status, "a proof opens once"
            [again] = await talk(
                door.port, asked("/v1/portal/home", token, proof("/v1/portal/home", token))
            )
            [wrong] = await talk(
                door.port, asked("/v1/portal/home", token, proof("/v1/ops", token))
            )
            assert (again.status, wrong.status) == (200, 401)
            assert app.granted == 1, "one token of the gateway's own does for many"
            assert app.callers == {token.encode()}
            assert app.tokens >= {b"Bearer own-1"}
            assert f"Bearer {token}".encode() not in app.tokens
            [state] = await talk(door.port, asked("/v1/ops", ops, proof("/v1/ops", ops)))
            assert state.status == 200
            assert json.loads(state.body)["unreachable"] == []
            assert app.callers == {token.encode(), ops.encode()}


async def test_a_bound_token_is_told_when_nobody_can_vouch_for_it(
    open_door: Opener, recorder: Recorder, keys: Keys
) -> None:
    holder = Holder()
    token = keys.token(cnf={"jkt": holder.jkt})
    async with open_door(recorder.port, token_url="http://127.0.0.1:9/oauth2/token") as door:
        proof = holder.proof("GET", "/v1/portal/home", token=token)
        raw = request(path="/v1/portal/home", Authorization=f"DPoP {token}", DPoP=proof)
        [answer] = await talk(door.port, raw)
    assert answer.status == 503
    assert answer.problem["service"] == "identity"


async def test_the_public_parts_are_kept_while_events_are_heard(
    open_door: Opener, recorder: Recorder, keys: Keys
) -> None:
    async with pillar() as (app, url):
        urls = {f"{name}_url": url for name in ALL}
        async with open_door(recorder.port, **urls) as door:

            async def asked() -> int:
                before = app.asked.count("/v1/items")
                assert (await home(door.port, keys.token())).status == 200
                return app.asked.count("/v1/items") - before

            assert [await asked(), await asked()] == [1, 1]
            door.beam.cache.listening = True
            assert [await asked(), await asked(), await asked()] == [1, 0, 0]
            door.beam.cache.drop()
            assert [await asked(), await asked()] == [1, 0]
            assert app.asked.count("/v1/me/matters") == 7


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
        (HomePrincipal, "/v1/me/principals", "identity"),
        (HomeTag, "/v1/me/profile/tags", "identity"),
        (HomeMatter, "/v1/me/matters", "exchange"),
        (HomeLicence, "/v1/me/licences/in-force", "licence"),
        (HomePayment, "/v1/payments", "payment"),
        (HomeRating, "/v1/ratings", "helpdesk"),
        (HomePackage, "/v1/packages", "catalog"),
        (HomeItem, "/v1/items", "catalog"),
    ],
)
def test_what_is_read_is_what_the_services_publish(model: Any, path: str, service: str) -> None:
    from beam import programs
    from beam.contracts import openapi_of

    document = openapi_of(next(p for p in programs.SERVICES if p.name == service))
    schemas = document["components"]["schemas"]
    answer = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
    page = schemas[answer["schema"]["$ref"].rpartition("/")[2]]
    item = schemas[page["properties"]["items"]["items"]["$ref"].rpartition("/")[2]]
    assert set(model.model_fields) <= set(item["properties"])


def test_every_tag_with_words_is_one_of_the_rules() -> None:
    from identity_svc import profile_rules

    assert all(profile_rules.tag(code)["basis"] for code in WORDS)
