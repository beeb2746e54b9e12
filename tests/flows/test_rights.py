"""Every operation as every kind of caller, on objects that belong to somebody else.

What must come out is a table (rights.py). A route that is not in it fails here: nobody can add a
door without saying who may go through.
"""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from kit.ids import uuid7

from .cast import ROLES, Cast
from .reference import Operation, hidden_operations, operations
from .rights import NONE, TABLE, Row
from .story import Story, a_firm

ITEM = "T99"
"""An item of the lead department made for these tests; the rights of the catalogue are tried on it
and not on one that others need."""
OWN_PROOF = {"token", "revoke", "introspect", "push_request", "device_authorization"}
VOLATILE = ("x-request-id", "date", "ratelimit", "ratelimit-policy", "content-length", "server")
QUERIES: dict[str, dict[str, str]] = {
    "list_shipments": {"case_id": "case_id"},
    "list_payments": {"case_id": "case_id"},
    "list_my_ratings": {"case_id": "case_id"},
    "read_events": {"subject": "case_id"},
}
"""Filters under which a list shows what the story left in it: parameter → name of an id."""


def bodies(story: Story, content: dict[str, Any]) -> dict[str, Any]:
    """A body that is good in itself, so that rights decide and not its form. What is asked for
    here is refused for its state, or harmless."""
    person = story.person
    return {
        "register_person": {"name": "x"},
        "send_phone_code": {"phone": "x"},
        "add_passkey": {
            "name": "x",
            "credential": {
                "id": "x",
                "rawId": "x",
                "type": "public-key",
                "response": {"clientDataJSON": "x", "attestationObject": "x"},
            },
        },
        "change_password": {"new": "a long enough secret"},
        "change_phone": {"phone": "13900000000", "phone_code": {"id": "otp_x", "code": "1"}},
        "check_in_person": {
            "phone": "13900000009",
            "name": "x",
            "id_number": "x",
            "seen": "document",
        },
        "bind_wechat": {"code": "x"},
        "sign_in_by_wechat": {"client_id": "x", "code": "x", "code_challenge": "x" * 43},
        "appoint_agent": {"name": "李四", "phone": "13800000002", "role": "agent"},
        "add_address": {"name": person.receiver, "mobile": person.mobile, "street": person.street},
        "open_case": {"item_code": "A05"},
        "save_case": {"form": {}},
        "refuse_case": {"reason_code": "not_complete", "reason": "材料不全。"},
        "decide_case": {"outcome": "approved"},
        "decide_task": {"outcome": "approved", "opinion": "同意。"},
        "request_correction": {"kind": "incomplete", "what": "请补充材料。"},
        "present_licence": {"purpose": "核对"},
        "verify_presentation": {"token": "x"},
        "change_licence_status": {"action": "suspend", "reason_code": "investigation"},
        "start_attempt": {"channel": "wechat_native"},
        "start_reconciliation": {"channel": "wechat", "day": "2000-01-01"},
        "settle_difference": {"note": "已核对。"},
        "submit_rating": {"score": 5},
        "put_rating_policy": {"working_days": 10},
        "register_partner": {"code": "SAMR", "name": "系统"},
        "add_staff": {"number": "x1"},
        "declare_fact": {"value": "x"},
        "ask_fact_correction": {"fact_id": "fact_" + "0" * 32, "wanted": "x", "reason": "x"},
        "accept_fact_correction": {"answer": "x"},
        "refuse_fact_correction": {"answer": "x"},
        "change_staff_rights": {"roles": ["counter"], "dept": "SAMR", "region": "310115"},
        "create_item": {"code": ITEM, "dept": "SAMR", "content": content},
        "edit_item_draft": {"content": {}},
        "put_synonym": {"means": ["食品"]},
    }


@dataclass
class Bench:
    """Calls operations about the story's objects as any role."""

    cast: Cast
    story: Story
    ids: dict[str, str]
    bodies: dict[str, Any]
    tokens: dict[str, dict[str, str]] = field(default_factory=dict)

    async def call(
        self, operation: Operation, role: str, ids: dict[str, str], query: str = ""
    ) -> httpx.Response:
        headers = dict(self.tokens[role])
        headers["if-match"] = '"424242"'
        if operation.creates:
            headers["idempotency-key"] = uuid7().hex
        service = operation.service
        base = self.cast.run["services"][service] if service else self.cast.place.gateway
        return await self.cast.client.request(
            operation.method,
            f"{base}{operation.path(ids)}{query}",
            headers=headers,
            json=self.bodies.get(operation.name),
        )

    async def whole_list(self, operation: Operation, role: str) -> tuple[int, str]:
        """All pages of a list in one text."""
        asked = {name: self.ids[key] for name, key in QUERIES.get(operation.name, {}).items()}
        if any(p["name"] == "limit" for p in operation.parameters("query")):
            asked["limit"] = "100"
        if operation.name == "list_tasks":
            asked["state"] = "approved"
        query, text = f"?{urlencode(asked)}", ""
        for _ in range(30):
            answer = await self.call(operation, role, self.ids, query)
            text += answer.text
            body = answer.json() if answer.status_code == 200 else None
            if not isinstance(body, dict) or not body.get("next") or body.get("events") == []:
                break
            query = "?" + body["next"].partition("?")[2]
        return answer.status_code, text

    def told(self, text: str, ids: dict[str, str]) -> list[str]:
        """Ids and personal data of the story that stand in the text; `instance` and `next`
        repeat the caller's own address."""
        text = re.sub(r'"(instance|next)":\s*"[^"]*"', "", text)
        values = {**ids, **self.story.person.planted()}
        return [name for name, value in values.items() if value in text]


@pytest.fixture(scope="module")
async def bench(cast: Cast, story: Story) -> Bench:
    gateway, client = cast.place.gateway, cast.client
    item = (await client.get(f"{gateway}/v1/items/A05")).json()
    added = ("code", "version", "state", "dept", "dept_name", "region_scope", "valid_from")
    added += ("valid_to", "applicant_kinds", "task_type_text")
    content = {name: value for name, value in item.items() if name not in added}
    content["everyday_terms"] = ["权限测试"]

    async def act(role: str, path: str, body: Any = None) -> int:
        headers = {**cast.headers(role), "idempotency-key": uuid7().hex}
        answer = await client.post(f"{gateway}/v1/items{path}", json=body, headers=headers)
        return answer.status_code

    made = await act("supervisor", "", {"code": ITEM, "dept": "SAMR", "content": content})
    if made == 201:
        assert await act("supervisor", f"/{ITEM}/drafts/1/submit") == 200
        assert await act("operator", f"/{ITEM}/drafts/1/publish") == 200
        assert await act("supervisor", f"/{ITEM}/drafts") == 201
    async with cast.database("licence") as database:
        order = await database.fetchval(
            "select id from licence_order where case_id = $1", story.ids["case_id"]
        )
    async with cast.database("identity") as database:
        read = await database.fetchval(
            "select id from access_log where account_id = $1", story.account_id
        )
        mandate = f"mnd_{uuid7().hex}"
        await database.execute(
            "insert into mandate (id, principal_id, agent_id, label, asked_by, state, version,"
            " valid_from, valid_until, uses) values ($1, $2, 'acc_zhangsan', '', 'agent',"
            " 'requested', 1, now(), now() + interval '1 day', 0)",
            mandate,
            story.account_id,
        )
    ids = {
        **story.ids,
        "mandate_id": mandate,
        "firm_id": await a_firm(cast),
        "appointment_id": f"apt_{uuid7().hex}",
        "order_id": order,
        "read_id": read,
        "code": ITEM,
        "number": "2",
        "year": "2026",
        "region": "310151",
        "term": "权限测试词",
        "event_type": "case.submitted.v1",
        "n": "0",
        "secret": "x",
        "client_id": "cli_nobody",
        "passkey_id": "pky_nobodys",
        "key": "nothing_known",
        "export_id": "exp_nobody",
        "correction_id": "cor_nobody",
        "letter_id": "dead_" + "0" * 32,
        "reconciliation_id": "rec_nobody",
        "difference_id": "dif_nobody",
    }
    found = Bench(cast, story, ids, bodies(story, content))
    found.tokens = {role: cast.headers(role) for role in ROLES}
    return found


def owned(ids: dict[str, str]) -> dict[str, str]:
    """The ids that belong to the story's person."""
    return {name: value for name, value in ids.items() if "_" in value and len(value) > 30}


def strange(ids: dict[str, str]) -> dict[str, str]:
    """The same with ids of objects that do not exist."""
    return {
        name: f"{value.partition('_')[0]}_{uuid7().hex}" if name in owned(ids) else value
        for name, value in ids.items()
    }


def test_every_operation_is_in_the_table() -> None:
    """A route that is not in the table is a hole; a row without a route is a lie."""
    names = {operation.name for operation in (*operations(), *hidden_operations())}
    assert names - TABLE.keys() == set(), "say in rights.py who may call these"
    assert TABLE.keys() - names == set(), "these are gone: take them out of rights.py"
    assert all(row.reach <= row.gate for row in TABLE.values())
    assert all(len(row.why) > 5 for row in TABLE.values())


async def _trial(bench: Bench, operation: Operation, role: str, row: Row) -> str | None:
    """What is wrong with the answer that this role gets, or None."""
    reaches, mine = role in row.reach, owned(bench.ids)
    if row.is_list and role in row.gate:
        status, text = await bench.whole_list(operation, role)
        # The firm is the demonstration's: its agents find it in lists of their own.
        mine = {name: value for name, value in mine.items() if name != "firm_id"}
        found = bench.told(text, mine)
        if status != 200:
            return f"{status} instead of a list"
        if bool(found) != reaches:
            return f"finds {found}" if found else "does not find what is theirs"
        return None
    answer = await bench.call(operation, role, bench.ids)
    status = answer.status_code
    if role not in row.gate:
        wanted = {401} if role == "nobody" else {403}
    elif reaches:
        refusals = {401, 403} if row.gate == row.reach or row.denied == 403 else {401, 403, 404}
        if operation.name in OWN_PROOF:
            refusals = {403, 404}
        return f"{status} {answer.text[:140]}" if status in refusals or status >= 500 else None
    else:
        wanted = {row.denied}
    if status not in wanted:
        return f"{status} instead of {wanted}: {answer.text[:140]}"
    if found := bench.told(answer.text, mine):
        return f"the refusal tells {found}"
    return None


async def test_who_may_do_what(bench: Bench) -> None:
    """The whole matrix: first all who must be refused, then those who may."""
    wrong, tried = [], 0
    for refused in (True, False):
        for operation in (*operations(), *hidden_operations()):
            row = TABLE[operation.name]
            roles = [role for role in ROLES if (role not in row.reach) == refused]
            tried += len(roles)
            answers = await asyncio.gather(*(_trial(bench, operation, role, row) for role in roles))
            for role, sentence in zip(roles, answers, strict=True):
                if sentence is not None:
                    wrong.append(f"{operation.name} as {role}: {sentence}")
    assert not wrong, "\n".join(wrong)
    assert tried == len(TABLE) * len(ROLES)


def _face(answer: httpx.Response) -> tuple[int, dict[str, str], str]:
    headers = {k: v for k, v in answer.headers.items() if k not in VOLATILE}
    text = re.sub(r'"(request_id|instance)":"[^"]*"', "", answer.text)
    return answer.status_code, headers, text


async def test_not_yours_looks_like_not_there(bench: Bench) -> None:
    """Somebody else's object and one that never was give the same answer, byte by byte."""
    wrong, compared = [], 0
    for operation in (*operations(), *hidden_operations()):
        row = TABLE[operation.name]
        names = {parameter["name"] for parameter in operation.parameters("path")}
        if row.denied == 403 or row.reach == NONE or not names & owned(bench.ids).keys():
            continue
        for role in sorted(row.gate - row.reach):
            theirs, nobodys = await asyncio.gather(
                bench.call(operation, role, bench.ids),
                bench.call(operation, role, strange(bench.ids)),
            )
            compared += 1
            if _face(theirs) != _face(nobodys):
                wrong.append(f"{operation.name} as {role}: {theirs.text} / {nobodys.text}")
    assert not wrong, "\n".join(wrong)
    assert compared > 100


async def test_every_page(bench: Bench) -> None:
    """Every list, one line a page, as everyone who has one: pages follow, nothing comes twice."""
    followed = 0
    for operation in operations():
        if not any(parameter["name"] == "cursor" for parameter in operation.parameters("query")):
            continue
        row = TABLE[operation.name]
        for role in sorted(row.gate if row.is_list else row.reach):
            query, seen = "?limit=1", []
            for _ in range(4):
                answer = await bench.call(operation, role, bench.ids, query)
                assert answer.status_code == 200, f"{operation.name} as {role}: {answer.text}"
                page = answer.json()
                seen += [str(line) for line in page["items"]]
                if not page["next"]:
                    break
                followed += 1
                query = "?" + page["next"].partition("?")[2]
            assert len(set(seen)) == len(seen), f"{operation.name} as {role} repeats itself"
    assert followed > 20


async def test_the_gateway_leads_to_nothing_internal(bench: Bench) -> None:
    for operation in hidden_operations():
        if operation.template.startswith("/internal/"):
            url = bench.cast.place.gateway + operation.path(bench.ids)
            for role in ("service", "operator", "owner"):
                answer = await bench.cast.client.get(url, headers=bench.tokens[role])
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
