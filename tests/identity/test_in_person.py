"""L3 and L4 at the counter: only for whom the register has confirmed, and it never falls."""

from typing import Any

import httpx
import pytest
from sqlalchemy import select

from identity_svc.models import AccessLog, Account
from kit.outbox import Outbox

from .conftest import House, bearer

ZHANG = {"phone": "13800000001", "name": "张三", "id_number": "310115199003077411"}


async def check(house: House, login: str = "w01", **changes: Any) -> httpx.Response:
    body = {**ZHANG, "seen": "document", **changes}
    headers = bearer(await house.signed_in(login))
    return await house.http.post("/v1/in-person-checks", json=body, headers=headers)


@pytest.fixture
async def at_l2(house: House) -> str:
    async with house.running.runtime.sessions.begin() as session:
        account = await session.get_one(Account, "acc_zhangsan")
        account.level = "L2"
    return account.id


async def test_the_level_rises_and_never_falls(house: House, at_l2: str) -> None:
    for seen, level in (("document", "L3"), ("document_and_chip", "L4"), ("document", "L4")):
        answer = await check(house, seen=seen)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"account_id": at_l2, "level": level}
    async with house.running.runtime.sessions() as session:
        events = [
            body
            for body in await session.scalars(select(Outbox.body).order_by(Outbox.seq))
            if '"by":"in_person"' in body
        ]
        reads = (await session.scalars(select(AccessLog).filter_by(kind="account"))).all()
    assert ["L3" in events[0], "L4" in events[1], len(events)] == [True, True, 2]
    assert {(row.account_id, row.dept, row.purpose) for row in reads} == {
        (at_l2, "SAMR", "in_person_check")
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"phone": "13899999999"},
        {"name": "李四"},
        {"id_number": "31011519881102302X"},
    ],
)
async def test_what_differs_proves_nothing(
    house: House, at_l2: str, changes: dict[str, str]
) -> None:
    answer = await check(house, **changes)
    assert (answer.status_code, answer.json()["code"]) == (422, "not_proven")
    assert not any(value in answer.text for value in changes.values())


async def test_who_has_proven_no_name_does_that_first(house: House, at_l2: str) -> None:
    async with house.running.runtime.sessions.begin() as session:
        (await session.get_one(Account, at_l2)).level = "L1"
    assert (await check(house)).json()["code"] == "not_proven"


async def test_reviewers_have_no_counter(house: House) -> None:
    assert (await check(house, "r01")).status_code == 403
