"""Mandates: one side asks, the other agrees, either ends it; tokens say it and stop at once."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select, update

from contracts.case import CaseMandateUsed
from contracts.event import Envelope
from identity_svc import endpoints, mandates
from identity_svc.models import RefreshFamily
from identity_svc.models_agency import Mandate
from kit.clock import now
from kit.outbox import Outbox
from kit.testing import key

from .agents import LI, PHONES, ZHANG, acting, caller_of, own, refused
from .conftest import House, bearer


@pytest.fixture(autouse=True)
async def _clean(house: House) -> None:
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(update(RefreshFamily).values(mandate_id=None))
        await session.execute(delete(Mandate))


async def ask(
    house: House, login: str = ZHANG, side: str = "principal", name: str = "李四", **more: Any
) -> httpx.Response:
    body = {
        "side": side,
        "other": {"name": name, "phone": PHONES.get(name, "13711112222")},
        "valid_until": (now() + timedelta(days=30)).isoformat(),
        **more,
    }
    headers = {**await own(house, login), **key()}
    return await house.http.post("/v1/mandates", json=body, headers=headers)


async def act(house: House, mandate_id: str, action: str, login: str) -> httpx.Response:
    path = f"/v1/mandates/{mandate_id}/{action}"
    return await house.http.post(path, headers=await own(house, login))


async def granted(house: House, **more: Any) -> str:
    """张三 lets 李四 act for him; the mandate's id."""
    made = (await ask(house, **more)).json()
    answer = await act(house, made["id"], "confirm", LI)
    assert answer.status_code == 200, answer.text
    return str(made["id"])


async def told(house: House, mandate_id: str) -> list[tuple[str, dict[str, Any]]]:
    async with house.running.runtime.sessions() as session:
        bodies = await session.scalars(
            select(Outbox.body).where(Outbox.body.contains(mandate_id)).order_by(Outbox.seq)
        )
        events = [Envelope.model_validate_json(body) for body in bodies]
    return [(event.event_type, event.data) for event in events]


async def test_granted_used_revoked(house: House) -> None:
    mandate_id = await granted(house, item_codes=["A05", "A05"], max_uses=2)
    (event,) = await told(house, mandate_id)
    assert event[0] == "identity.mandate_granted.v1"
    wanted = {"principal_id": "acc_zhangsan", "agent_id": "acc_lisi", "max_uses": 2}
    assert event[1].items() >= {**wanted, "item_codes": ["A05"]}.items()
    tokens = await acting(house, mandate_id, LI)
    caller = await caller_of(house, tokens)
    assert (caller.subject, caller.agent, caller.mandate) == (
        "acc_zhangsan",
        "acc_lisi",
        mandate_id,
    )
    me = await house.http.get("/v1/me", headers=bearer(tokens))
    assert (me.status_code, me.json()["code"]) == (403, "not_mandated")
    shown = (await house.http.get("/v1/me/principals", headers=bearer(tokens))).json()
    assert shown["acting_for"] == mandate_id
    assert shown["items"][0]["name"] == "张*"
    ended = await act(house, mandate_id, "revoke", ZHANG)
    assert ended.json()["state"] == "revoked"
    assert (await house.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert await refused(house, mandate_id, LI) == "access_denied"
    assert (await told(house, mandate_id))[-1][0] == "identity.mandate_revoked.v1"
    live = {"jti": caller.jti}
    async with house.running.runtime.sessions() as session:
        assert not await session.run_sync(lambda plain: endpoints.is_live(plain, live))


async def test_the_agent_asks_and_the_principal_agrees(house: House) -> None:
    made = (await ask(house, LI, side="agent", name="张三")).json()
    assert (made["principal_id"], made["principal_name"]) == (None, "张* 138****0001")
    assert made["agent_id"] == "acc_lisi"
    waiting = await house.http.get("/v1/me/principals", headers=await own(house))
    (one,) = waiting.json()["mandates_waiting"]
    assert (one["id"], one["agent_name"]) == (made["id"], "李*")
    assert (await act(house, made["id"], "confirm", LI)).status_code == 403
    agreed = (await act(house, made["id"], "confirm", ZHANG)).json()
    assert (agreed["state"], agreed["principal_id"]) == ("active", "acc_zhangsan")
    assert (await act(house, made["id"], "confirm", ZHANG)).json()["code"] == "illegal_move"


async def test_nobody_learns_who_has_an_account(house: House) -> None:
    known, unknown = await ask(house), await ask(house, name="钱无人")
    assert (known.status_code, unknown.status_code) == (201, 201)
    shapes = [{n: v is None for n, v in a.json().items()} for a in (known, unknown)]
    assert shapes[0] == shapes[1]
    # The right telephone with another name is another person.
    other = await ask(house, other={"name": "李肆", "phone": LI})
    found = await house.http.get(f"/v1/mandates/{other.json()['id']}", headers=await own(house, LI))
    assert found.status_code == 404


async def test_strangers_and_staff(house: House) -> None:
    mandate_id = await granted(house)
    for action in ("confirm", "refuse", "revoke"):
        assert (await act(house, mandate_id, action, "r01")).status_code == 404
    as_principal = await ask(house, "w01")
    assert as_principal.status_code == 403
    long = await ask(house, "w01", side="agent", name="张三")
    assert (long.status_code, long.json()["code"]) == (422, "invalid")
    soon = (now() + timedelta(hours=2)).isoformat()
    made = (await ask(house, "w01", side="agent", name="张三", valid_until=soon)).json()
    assert (await act(house, made["id"], "confirm", ZHANG)).json()["state"] == "active"
    caller = await caller_of(house, await acting(house, made["id"], "w01"))
    assert (caller.subject, caller.kind) == ("acc_zhangsan", "person")
    assert (caller.agent, caller.agent_kind, caller.agent_dept) == ("stf_w01", "staff", "SAMR")
    assert caller.roles == frozenset()


@pytest.mark.parametrize(
    "more",
    [
        {"valid_until": (now() - timedelta(days=1)).isoformat()},
        {"valid_until": (now() + timedelta(days=4 * 366)).isoformat()},
        {"valid_until": "2030-01-01T00:00:00"},
        {"max_uses": 0},
        {"item_codes": []},
        {"item_codes": ["food"]},
        {"other": {"name": "张三"}},
        {"other": {"uscc": "91310115MA1K3AB43E"}},
        {"other": {"name": "李四", "phone": LI, "uscc": "91310115MA1K3AB43E"}},
        {"other": {"name": "张三", "phone": ZHANG}},
    ],
)
async def test_what_no_mandate_can_say(house: House, more: dict[str, Any]) -> None:
    answer = await ask(house, **more)
    assert answer.status_code == 422, answer.text


async def test_pages_of_mine(house: House) -> None:
    ids = [await granted(house) for _ in range(3)]
    await ask(house, LI, side="principal", name="张三")
    mine = await own(house)
    first = (await house.http.get("/v1/mandates?side=principal&limit=2", headers=mine)).json()
    second = (await house.http.get(first["next"], headers=mine)).json()
    assert [m["id"] for m in (*first["items"], *second["items"])] == ids[::-1]
    both = (await house.http.get("/v1/mandates", headers=mine)).json()["items"]
    assert [m["side"] for m in both] == ["agent", "principal", "principal", "principal"]
    asked = (await house.http.get("/v1/mandates?state=requested", headers=mine)).json()["items"]
    assert len(asked) == 1


async def test_used_up_by_count_whatever_order_and_however_often(house: House) -> None:
    mandate_id = await granted(house, max_uses=2)
    hear = house.running.hear

    def use(number: int) -> CaseMandateUsed:
        return CaseMandateUsed(mandate_id=mandate_id, case_id=f"case_{number}", uses=number)

    await hear(use(2), times=2, subject=mandate_id, version=2)
    await hear(use(1), times=2, subject=mandate_id, version=1)
    path = f"/v1/mandates/{mandate_id}"
    seen = (await house.http.get(path, headers=await own(house))).json()
    assert (seen["state"], seen["uses"]) == ("used_up", 2)
    kinds = [kind for kind, _ in await told(house, mandate_id)]
    assert kinds.count("identity.mandate_used_up.v1") == 1
    # What was begun may be finished: the agent still comes in.
    assert (await acting(house, mandate_id, LI))["access_token"]


async def test_time_ends_it(house: House) -> None:
    mandate_id = await granted(house)
    sessions = house.running.runtime.sessions
    tokens = await acting(house, mandate_id, LI)
    async with sessions.begin() as session:
        over = {"valid_from": now() - timedelta(2), "valid_until": now() + timedelta(seconds=40)}
        await session.execute(update(Mandate).values(**over))
    short = await house.refresh(tokens["refresh_token"])
    assert short.json()["expires_in"] <= 40, "no token outlives its mandate"
    async with sessions.begin() as session:
        await session.execute(update(Mandate).values(valid_until=now() - timedelta(1)))
    assert await refused(house, mandate_id, LI) == "access_denied"
    again = await house.refresh(short.json()["refresh_token"])
    assert again.json()["error"] == "invalid_grant"
    async with sessions.begin() as session:
        assert await mandates.expire(session) == 1
    async with sessions.begin() as session:
        assert await mandates.expire(session) == 0
    seen = await house.http.get(f"/v1/mandates/{mandate_id}", headers=await own(house, LI))
    assert seen.json()["state"] == "expired"


async def test_many_answers_at_once_have_one_effect(house: House) -> None:
    made = (await ask(house)).json()
    mine = await own(house, LI)
    path = f"/v1/mandates/{made['id']}"
    answers = await asyncio.gather(
        *(house.http.post(f"{path}/{what}", headers=mine) for what in ("confirm", "refuse") * 4)
    )
    assert sorted(a.status_code for a in answers) == [200] + [409] * 7
    kinds = [kind for kind, _ in await told(house, made["id"])]
    assert len(kinds) <= 1


async def test_a_suspended_agent_acts_no_more(house: House) -> None:
    mandate_id = await granted(house)
    tokens = await acting(house, mandate_id, LI)
    operator = await own(house, "o01")
    assert (
        await house.http.post("/v1/accounts/acc_lisi/suspend", headers=operator)
    ).status_code == 200
    try:
        assert (await house.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    finally:
        await house.http.post("/v1/accounts/acc_lisi/restore", headers=operator)


async def test_others_applications_know_the_person_alone(house: House) -> None:
    """A mandate token passes no gate that does not say so, and no exchange loses the mandate."""
    mandate_id = await granted(house)
    tokens = await acting(house, mandate_id, LI)
    for path in ("/v1/me/access-log", "/v1/me/consents", "/v1/mandates"):
        answer = await house.http.get(path, headers=bearer(tokens))
        assert (answer.status_code, answer.json()["code"]) == (403, "not_mandated"), path
