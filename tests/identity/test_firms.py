"""Firms: the register decides who represents one; persons act for it, and stop at once."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select

from identity_svc import seed
from identity_svc.models import Account, Attempts
from identity_svc.models_agency import Appointment
from identity_svc.providers import enterprises
from kit.outbox import Outbox
from kit.testing import key
from sandbox.testing import Sandbox

from .agents import LI, ZHANG, acting, caller_of, chosen, own, refused
from .conftest import House, Start, bearer

FIRM = {"uscc": "91310115MA1K3AB43E", "name": "上海浦江味道餐饮管理有限公司"}
ZHANG_ID, LI_ID = "310115199003077411", "31011519881102302X"


@pytest.fixture
def house(open_house: House) -> House:
    return open_house


@pytest.fixture(autouse=True)
async def _clean(house: House, outside: Sandbox) -> None:
    """No counts, nobody appointed, and 张三 is the firm's representative in the register."""
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(delete(Attempts))
        await session.execute(delete(Appointment))
    await outside.sim("enterprises", **FIRM, representative=ZHANG_ID)


async def claim(house: House, login: str = ZHANG, **changes: str) -> httpx.Response:
    return await house.http.post(
        "/v1/firm-claims", json={**FIRM, **changes}, headers=await own(house, login)
    )


async def firm(house: House) -> str:
    answer = await claim(house)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def appoint(house: House, firm_id: str, role: str = "agent", **who: str) -> httpx.Response:
    body = {"name": "李四", "phone": LI, "role": role, **who}
    headers = {**await own(house), **key()}
    return await house.http.post(f"/v1/firms/{firm_id}/agents", json=body, headers=headers)


async def agent(house: House, firm_id: str, role: str = "agent") -> dict[str, Any]:
    """李四, appointed and agreed."""
    made = (await appoint(house, firm_id, role)).json()
    path = f"/v1/appointments/{made['id']}/confirm"
    answer = await house.http.post(path, headers=await own(house, LI))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def events(house: House, kind: str) -> list[str]:
    async with house.running.runtime.sessions() as session:
        found = await session.scalars(
            select(Outbox.body).where(Outbox.subject.contains(f".{kind}.")).order_by(Outbox.seq)
        )
        return list(found)


async def test_the_legal_representative_registers_and_acts(house: House) -> None:
    firm_id = await firm(house)
    assert await firm(house) == firm_id
    tokens = await acting(house, firm_id)
    caller = await caller_of(house, tokens)
    assert (caller.subject, caller.kind) == (firm_id, "enterprise")
    assert (caller.actor, caller.agent, caller.agent_kind) == ("acc_zhangsan",) * 2 + ("person",)
    assert (caller.mandate, caller.level) == (None, "L3")
    me = (await house.http.get("/v1/me", headers=bearer(tokens))).json()
    assert (me["kind"], me["name"], me["level"]) == ("enterprise", FIRM["name"], "L2")
    shown = (await house.http.get("/v1/me/principals", headers=bearer(tokens))).json()
    assert shown["acting_for"] == firm_id
    assert shown["items"][0]["role"] == "legal_representative"
    again = await house.refresh(tokens["refresh_token"])
    assert (await caller_of(house, again.json())).actor == "acc_zhangsan"
    claimed = [body for body in await events(house, "firm_claimed") if firm_id in body]
    assert not any(private in body for body in claimed for private in (*FIRM.values(), ZHANG_ID))


@pytest.mark.parametrize(
    ("login", "changes", "status", "code"),
    [
        (LI, {}, 422, "not_representative"),
        (ZHANG, {"name": "另一家公司"}, 422, "not_representative"),
        (ZHANG, {"uscc": "91310115MA1K0ZZ05B"}, 422, None),
        (ZHANG, {"uscc": "91110000600037341L"}, 422, "not_representative"),
        (ZHANG, {"name": "不可用"}, 503, "unavailable"),
        ("w01", {}, 403, "forbidden"),
    ],
)
async def test_what_the_register_does_not_say(
    house: House, login: str, changes: dict[str, str], status: int, code: str | None
) -> None:
    answer = await claim(house, login, **changes)
    assert answer.status_code == status, answer.text
    assert code is None or answer.json()["code"] == code
    assert FIRM["name"] not in answer.text


async def test_the_register_is_away_and_comes_back(house: House, outside: Sandbox) -> None:
    await outside.sim("enterprises/faults", kind="500")
    assert (await claim(house)).status_code == 503
    assert (await claim(house)).status_code == 200


async def test_many_claims_at_once_make_one_firm(house: House) -> None:
    answers = await asyncio.gather(*(claim(house) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    async with house.running.runtime.sessions() as session:
        rows = (await session.scalars(select(Appointment))).all()
        firms = await session.scalars(select(Account.id).where(Account.kind == "enterprise"))
        assert len(firms.all()) == 1
    assert [(row.role, row.state) for row in rows] == [("legal_representative", "active")]


async def test_a_new_representative_takes_the_firm_over(house: House, outside: Sandbox) -> None:
    firm_id = await firm(house)
    tokens = await acting(house, firm_id)
    await outside.sim("enterprises", **FIRM, representative=LI_ID)
    assert (await claim(house, LI)).json()["id"] == firm_id
    assert (await house.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert await refused(house, firm_id) == "access_denied"
    assert (await claim(house)).json()["code"] == "not_representative"
    assert (await acting(house, firm_id, LI))["access_token"]
    told = (await events(house, "firm_claimed"))[-1]
    assert '"representative_id":"acc_lisi","previous_id":"acc_zhangsan"' in told


async def test_agents_are_asked_agree_and_go(house: House) -> None:
    firm_id = await firm(house)
    made = await appoint(house, firm_id)
    assert (made.status_code, made.json()["state"]) == (201, "invited")
    assert made.json()["person"] == "李* 138****0002"
    assert made.json()["person_id"] is None
    nobody = await appoint(house, firm_id, name="钱无人", phone="13711112222")
    assert nobody.json().keys() == made.json().keys()
    assert await refused(house, firm_id, LI) == "access_denied"
    path = f"/v1/appointments/{made.json()['id']}"
    assert (await house.http.post(path + "/confirm", headers=await own(house))).status_code == 404
    waiting = await house.http.get("/v1/me/principals", headers=await own(house, LI))
    assert waiting.json()["appointments_waiting"] == [
        {"appointment_id": made.json()["id"], "firm_name": FIRM["name"], "role": "agent"}
    ]
    agreed = await house.http.post(path + "/confirm", headers=await own(house, LI))
    assert agreed.json()["state"] == "active"
    tokens = await acting(house, firm_id, LI)
    assert (await caller_of(house, tokens)).actor == "acc_lisi"
    removed = await house.http.post(path + "/remove", headers=await own(house))
    assert removed.json()["state"] == "removed"
    assert (await house.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert await refused(house, firm_id, LI) == "access_denied"


async def test_only_managers_appoint(house: House) -> None:
    firm_id = await firm(house)
    await agent(house, firm_id)
    body = {"name": "王五", "phone": "13811111111", "role": "agent"}
    path = f"/v1/firms/{firm_id}/agents"

    async def tries(headers: dict[str, str]) -> int:
        answer = await house.http.post(path, json=body, headers={**headers, **key()})
        return answer.status_code

    assert await tries(await own(house, LI)) == 404
    assert await tries(bearer(await acting(house, firm_id, LI))) == 404
    assert await tries(bearer(await acting(house, firm_id))) == 201
    assert (await house.http.get(path, headers=await own(house, LI))).status_code == 404
    listed = (await house.http.get(path + "?limit=2", headers=await own(house))).json()
    assert (len(listed["items"]), listed["next"] is not None) == (2, True)
    rest = (await house.http.get(listed["next"], headers=await own(house))).json()
    assert [line["role"] for line in rest["items"]] == ["legal_representative"]


async def test_an_agent_lays_it_down_and_a_representative_cannot(house: House) -> None:
    firm_id = await firm(house)
    made = await agent(house, firm_id, "administrator")
    gone = await house.http.post(
        f"/v1/appointments/{made['id']}/remove", headers=await own(house, LI)
    )
    assert gone.json()["state"] == "removed"
    async with house.running.runtime.sessions() as session:
        mine = await session.scalar(select(Appointment.id).where(Appointment.state == "active"))
    stays = await house.http.post(f"/v1/appointments/{mine}/remove", headers=await own(house))
    assert (stays.status_code, stays.json()["code"]) == (409, "conflict")


async def test_the_page_of_choice(house: House) -> None:
    firm_id = await firm(house)
    browser = house.browser()
    start = Start(changes={"act_for": "choose"})
    await browser.get(start.url)
    page = await browser.submit(login=ZHANG, password=seed.DEMO_PASSWORD)
    assert FIRM["name"] in page.text
    assert "法定代表人" in page.text
    assert "code" in await chosen(house, firm_id, ZHANG)
    assert "code" in await chosen(house, "self", ZHANG)
    assert (await chosen(house, "acc_lisi", ZHANG))["error"] == "access_denied"
    silent = await house.code(Start(changes={"act_for": "choose", "prompt": "none"}))
    assert silent["error"] == "interaction_required"


async def test_an_id_token_is_about_the_firm(house: House) -> None:
    firm_id = await firm(house)
    tokens = await acting(house, firm_id)
    told = await house.http.get("/oauth2/userinfo", headers=bearer(tokens))
    assert (told.json()["sub"], told.json()["name"]) == (firm_id, FIRM["name"])


async def test_the_sandbox_refuses_what_is_not_signed(outside: Sandbox) -> None:
    right = enterprises.Account.load(outside.keys / "enterprises")
    for account in (
        enterprises.Account(right.app_id, "wrong"),
        enterprises.Account("appother", right.secret),
    ):
        register = enterprises.Enterprises(outside.url, account)
        assert (await register.verify(FIRM["uscc"], FIRM["name"], ZHANG_ID)).result == "unavailable"
        await register.close()
