"""One key, one effect: many at once with the same Idempotency-Key at every creating operation,
fifty at one of each service."""

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from beam.journey import steps
from beam.journey.door import Door
from beam.journey.stage import Stage, until
from beam.journey.steps import CITIZEN, FIRE, LEAD, Journey
from kit.clock import city_day, now
from kit.ids import uuid7

from ..identity.authenticator import Authenticator
from .cast import Cast
from .people import People
from .reference import operations
from .story import Story, a_firm, prepare, register

AT_ONCE = 50
A_FEW = 15
"""For the further operations of a service: the keys of a service are kept in one place."""
WITHOUT_KEY = {
    "send_phone_code": "one code a minute for a number, whatever the key; see below",
    "push_request": "RFC 9126 has no key: every request gets a reference of its own",
}


@dataclass(frozen=True)
class Creation:
    """A request that creates something, and how many of these there are afterwards."""

    role: str
    path: str
    body: Any
    count: tuple[str, str, tuple[Any, ...]]
    """(database, SQL with one number, arguments)"""


OPERATIONS = {operation.name: operation for operation in operations()}


async def _fresh_case(cast: Cast, people: People) -> tuple[Stage, Journey]:
    """A case in review whose fee is not yet due."""
    stage = Stage(cast.place)
    person = people.new()
    stage.doors[CITIZEN] = await register(cast, person)
    journey = Journey(stage)
    await prepare(journey, person)
    await steps.submit(journey)
    await steps.accept(journey)
    return stage, journey


@pytest.fixture(scope="module")
async def creations(cast: Cast, story: Story, people: People) -> dict[str, Creation]:
    """For every creating operation a request that succeeds."""
    stage, journey = await _fresh_case(cast, people)
    fire = await journey.door(FIRE)
    case = await journey.case()
    task = next(task["id"] for task in case["tasks"] if task["dept"] == "FIRE")
    await fire.post(f"/v1/tasks/{task}/claim")
    paying, payment = await _payable(cast, people)
    item = (await cast.client.get(f"{cast.place.gateway}/v1/items/A05")).json()
    added = {"code", "version", "state", "dept", "dept_name", "region_scope", "valid_from"}
    added |= {"valid_to", "applicant_kinds", "task_type_text"}
    content = {name: value for name, value in item.items() if name not in added}
    code = f"O{secrets.randbelow(90) + 10}"
    made = Creation(
        "supervisor",
        "/v1/items",
        {"code": code, "dept": "SAMR", "content": content},
        ("catalog", "select count(*) from item where code = $1", (code,)),
    )
    person = people.new()
    said = person.planted()
    index = cast.vault("identity").index(f"phone|{person.phone}")
    street = f"幂等路{secrets.randbelow(10**9)}号"
    owner, licence = story.account_id, story.ids["licence_id"]
    before = {
        "case": ("case", 'select count(*) from "case" where applicant_id = $1', (owner,)),
        "shown": ("licence", "select count(*) from presentation where licence_id = $1", (licence,)),
    }
    firm = await a_firm(cast)
    dept = "".join(secrets.choice("ABCDEFGHJK") for _ in range(8))
    zhangsan = {"authorization": f"Bearer {cast.token('other', sub='acc_zhangsan')}"}
    profile = await cast.client.get(f"{cast.place.gateway}/v1/me/profile", headers=zhangsan)
    born = next(fact["id"] for fact in profile.json()["facts"] if fact["key"] == "birth_date")
    leaver = await register(cast, people.new())
    leaving = await leaver.get("/v1/me")
    citizen = await journey.door(CITIZEN)
    me = await citizen.get("/v1/me")
    asked = await citizen.post("/v1/me/passkeys/options")
    host = urlsplit(cast.place.gateway).hostname or ""
    phone = Authenticator(cast.place.gateway, host)
    found = {
        "add_passkey": Creation(
            f"Bearer {citizen.token}",
            "/v1/me/passkeys",
            {"name": "手机", "credential": phone.create(asked["publicKey"])},
            ("identity", "select count(*) from passkey where account_id = $1", (me["id"],)),
        ),
        "ask_closing": Creation(
            f"Bearer {leaver.token}",
            "/v1/me/closing",
            None,
            (
                "identity",
                "select count(*) from account_closing where account_id = $1",
                (leaving["id"],),
            ),
        ),
        "ask_fact_correction": Creation(
            "acc_zhangsan",
            "/v1/me/profile/corrections",
            {"fact_id": born, "wanted": "1990-03-08", "reason": "登记有误"},
            ("identity", "select count(*) from fact_correction where fact_id = $1", (born,)),
        ),
        "ask_export": Creation(
            f"Bearer {leaver.token}",
            "/v1/me/exports",
            None,
            (
                "identity",
                "select count(*) from data_export where account_id = $1",
                (leaving["id"],),
            ),
        ),
        "register_person": Creation(
            "nobody",
            "/v1/accounts",
            {name: said[name] for name in ("name", "id_number", "phone", "password")},
            ("identity", "select count(*) from account where phone_index = $1", (index,)),
        ),
        "add_address": Creation(
            f"Bearer {citizen.token}",
            "/v1/addresses",
            {"name": "张三", "mobile": "13800000001", "street": street},
            ("logistics", "select count(*) from address where account_id = $1", (me["id"],)),
        ),
        "open_case": Creation("owner", "/v1/cases", {"item_code": "A05"}, before["case"]),
        "create_item": made,
        "present_licence": Creation(
            "owner", f"/v1/licences/{licence}/present", {"purpose": "核对"}, before["shown"]
        ),
        "register_partner": Creation(
            "operator",
            "/v1/partners",
            {"code": dept, "name": "幂等系统"},
            ("exchange", "select count(*) from partner where code = $1", (dept,)),
        ),
        "register_client": Creation(
            "operator",
            "/v1/clients",
            {
                "name": f"应用{dept}",
                "name_en": f"App {dept}",
                "redirect_uris": ["https://app.example/callback"],
                "scopes": ["openid"],
            },
            ("identity", "select count(*) from client where name_en = $1", (f"App {dept}",)),
        ),
        "add_staff": Creation(
            "operator",
            "/v1/staff",
            {
                "number": dept.lower(),
                "name": "新同事",
                "password": "a long enough secret",
                "roles": ["counter"],
                "dept": "SAMR",
                "region": "310115",
            },
            (
                "identity",
                "select count(*) from staff_member where number = $1",
                (dept.lower(),),
            ),
        ),
        "appoint_agent": Creation(
            "acc_zhangsan",
            f"/v1/firms/{firm}/agents",
            {"name": "李四", "phone": "13800000002", "role": "agent"},
            ("identity", "select count(*) from appointment where firm_id = $1", (firm,)),
        ),
        "ask_mandate": Creation(
            "other",
            "/v1/mandates",
            {
                "side": "principal",
                "other": {"name": "张三", "phone": "13800000001"},
                "valid_until": (now() + timedelta(days=1)).isoformat(),
            },
            ("identity", "select count(*) from mandate where principal_id = $1", ("acc_lisi",)),
        ),
        "request_correction": Creation(
            "helping reviewer",
            f"/v1/tasks/{task}/request-correction",
            {"kind": "incomplete", "what": "请补充说明。"},
            ("case", "select count(*) from correction where case_id = $1", (case["id"],)),
        ),
        "start_attempt": Creation(
            paying,
            f"/v1/payments/{payment}/attempts",
            {"channel": "wechat_native"},
            ("payment", "select count(*) from attempt where order_id = $1", (payment,)),
        ),
    }
    day = city_day(now()) - timedelta(days=80)
    found["start_reconciliation"] = Creation(
        "operator",
        "/v1/reconciliations",
        {"channel": "wechat", "day": day.isoformat()},
        ("payment", "select count(*) from reconciliation where day = $1", (day,)),
    )
    await stage.close()
    await leaver.close()
    return found


async def _payable(cast: Cast, people: People) -> tuple[str, str]:
    """The account and the order of somebody who owes a fee."""
    stage, journey = await _fresh_case(cast, people)
    try:
        for who in (LEAD, FIRE):
            door = await journey.door(who)
            dept = "SAMR" if who == LEAD else "FIRE"
            task = await steps._task(door, await journey.case(), dept)
            agree = {"outcome": "approved", "opinion": "符合条件。"}
            await door.post(f"/v1/tasks/{task}/decide", agree)
        await journey.case_in("fee_due")
        citizen: Door = await journey.door(CITIZEN)

        async def due() -> Any:
            return (await citizen.get(f"/v1/payments?case_id={journey.case_id}"))["items"]

        (payment,) = await until(due, "no payment order")
        me = await citizen.get("/v1/me")
        return me["id"], payment["id"]
    finally:
        await stage.close()


async def _count(cast: Cast, creation: Creation) -> int:
    database, query, arguments = creation.count
    async with cast.database(database) as connection:
        return int(await connection.fetchval(query, *arguments))


def _headers(cast: Cast, role: str) -> dict[str, str]:
    if role.startswith("Bearer "):
        return {"authorization": role}
    if role.startswith("acc_"):
        return {"authorization": f"Bearer {cast.token('other', sub=role)}"}
    return cast.headers(role)


async def test_many_at_once(cast: Cast, creations: dict[str, Creation]) -> None:
    """One effect; every answer is the first one again, or says that it is still in progress."""
    open_draft = Creation(  # needs the item that create_item makes and its draft to be gone
        "supervisor",
        f"/v1/items/{creations['create_item'].body['code']}/drafts",
        None,
        (
            "catalog",
            "select count(*) from item_version where item_code = $1",
            (creations["create_item"].body["code"],),
        ),
    )
    creating = {operation.name for operation in operations() if operation.creates}
    assert creating == {*creations, "open_item_draft", *WITHOUT_KEY}, "each needs a request here"
    tried: set[str] = set()
    for name, creation in (*creations.items(), ("open_item_draft", open_draft)):
        if name == "open_item_draft":
            path = creation.path + "/1/discard"
            gone = await cast.client.post(
                cast.place.gateway + path, headers=cast.headers("supervisor")
            )
            assert gone.status_code == 200, gone.text
        await _at_once(cast, name, creation, A_FEW if creation.count[0] in tried else AT_ONCE)
        tried.add(creation.count[0])


async def _at_once(cast: Cast, name: str, creation: Creation, many: int) -> None:
    before = await _count(cast, creation)
    headers = {**_headers(cast, creation.role), "idempotency-key": uuid7().hex}

    async def one() -> httpx.Response:
        for _ in range(40):
            answer = await cast.client.post(
                cast.place.gateway + creation.path, json=creation.body, headers=headers
            )
            # 504: nobody knows yet; the key finds out.
            busy = answer.status_code in (503, 504)
            if not busy and answer.json().get("code") != "in_progress":
                return answer
            await asyncio.sleep(0.25)
        return answer

    answers = await asyncio.gather(*(one() for _ in range(many)))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {201: many}, f"{name}: {statuses} {answers[0].text[:300]}"
    assert await _count(cast, creation) - before == 1, f"{name} had not one effect"
    bodies = {answer.content for answer in answers}
    # An attempt's code to scan arrives while the others wait: the same attempt, told twice.
    same = {a.json()["attempt_id"] for a in answers} if name == "start_attempt" else bodies
    assert len(same) == 1, f"{name} told of {len(same)} different things"
    declared = "Location" in OPERATIONS[name].spec["responses"]["201"].get("headers", {})
    places = {answer.headers.get("location") for answer in answers}
    assert (places != {None}) >= declared, f"{name} does not say where to read what it made"
    for place in places - {None} if declared else ():
        read = await cast.client.get(cast.place.gateway + place, headers=headers)
        assert read.status_code == 200, f"{name}: {place} {read.text[:300]}"


async def test_fifty_codes_at_once(cast: Cast, people: People) -> None:
    """However often a code for one number is asked for at once, one message goes out."""
    url, body = f"{cast.place.gateway}/v1/phone-codes", {"phone": people.new().phone}

    async def ask() -> int:
        key = {"idempotency-key": uuid7().hex}
        return (await cast.client.post(url, json=body, headers=key)).status_code

    assert Counter(await asyncio.gather(*(ask() for _ in range(AT_ONCE))))[201] == 1


async def test_the_key_is_bound_to_its_request(cast: Cast, story: Story) -> None:
    """Another body under the key is refused; another caller has keys of his own."""
    url, key = f"{cast.place.gateway}/v1/addresses", {"idempotency-key": uuid7().hex}
    body = {"name": "张三", "mobile": "13800000001", "street": "合欢路 1 号"}

    async def add(role: str, content: Any) -> httpx.Response:
        return await cast.client.post(url, json=content, headers={**cast.headers(role), **key})

    first = await add("enterprise", body)
    assert first.status_code == 201
    again = await add("enterprise", body)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content
    other = await add("enterprise", {**body, "street": "合欢路 2 号"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    stranger = await add("other", body)
    assert stranger.status_code == 201
    assert stranger.json()["id"] != first.json()["id"]
