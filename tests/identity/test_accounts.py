"""Registering, masks, the access log, and that nothing personal gets out."""

import re
from typing import Any

import pytest
from sqlalchemy import delete, select, text

from identity_svc.models import AccessLog, Account, Attempts
from kit.testing import key

from .conftest import House, Start, bearer

NEW = {
    "name": "欧阳 娜娜",
    "id_number": "11010519491231002x",
    "phone": "+86 139-0000-0123",
    "password": "a long enough secret",
}


@pytest.fixture(autouse=True)
async def _no_tries_yet(house: House) -> None:
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(delete(Attempts))


async def _register(house: House, **changes: Any) -> Any:
    return await house.http.post("/v1/accounts", json={**NEW, **changes}, headers=key())


async def test_register_then_sign_in(house: House) -> None:
    answer = await _register(house)
    assert answer.status_code == 201, answer.text
    browser = house.browser()
    start = Start()
    back = await browser.sign_in(start, "13900000123", NEW["password"])
    tokens = (await house.exchange(start, back["code"])).json()
    answer = await house.http.get("/v1/me", headers=bearer(tokens))
    me = answer.json()
    assert answer.headers["etag"] == '"1"'
    assert (me["kind"], me["level"], me["state"]) == ("person", "L0", "active")
    assert me["name"] == "欧****"
    assert me["id_number"] == "110***********002X"
    assert me["phone"] == "139****0123"
    runtime = house.running.runtime
    async with runtime.sessions() as session:
        body = await session.scalar(
            text(
                "select body from outbox where subject like '%account_registered%'"
                " order by seq desc limit 1"
            )
        )
    assert me["id"] in body
    for personal in ("欧阳", "娜娜", "002X", "0123"):
        assert personal not in re.sub(r'"(id|time|traceparent|correlationid)":"[^"]*"', "", body)


async def test_a_known_phone_gets_the_same_answer_and_no_account(house: House) -> None:
    new = await _register(house, phone="13900000124", id_number="440524188001010014")
    known = await _register(house, phone="13800000001", name="别人")
    assert (new.status_code, new.json()) == (known.status_code, known.json())
    assert set(new.headers) == set(known.headers)
    tokens = await house.signed_in()
    me = await house.http.get("/v1/me", headers=bearer(tokens))
    assert me.json()["name"] == "张*"


async def test_an_unproven_number_does_not_block_its_owner(house: House) -> None:
    async with house.running.runtime.sessions() as session:
        before = len((await session.scalars(select(Account.id))).all())
    for phone in ("13900000125", "13900000126"):
        assert (await _register(house, phone=phone)).status_code == 201
    async with house.running.runtime.sessions() as session:
        assert len((await session.scalars(select(Account.id))).all()) == before + 2


async def test_repeating_a_registration(house: House) -> None:
    same = key()
    body = {**NEW, "phone": "13900000127"}
    one = await house.http.post("/v1/accounts", json=body, headers=same)
    two = await house.http.post("/v1/accounts", json=body, headers=same)
    assert (one.status_code, two.status_code) == (201, 201)
    assert two.headers["idempotent-replayed"] == "true"
    other = await house.http.post("/v1/accounts", json=NEW, headers=same)
    assert other.status_code == 422


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("id_number", "11010519491231002", "现在是 17 位"),
        ("id_number", "110105194912310021", "最后一位"),
        ("id_number", "110105194902310023", "出生日期"),
        ("id_number", "110105209912310020", "出生日期"),
        ("id_number", "1101051949123100２X", "17 位数字"),
        ("phone", "12800000001", "11 位手机号码"),
        ("phone", "1380000000", "11 位手机号码"),
        ("name", "王", "姓名"),
        ("name", "<script>alert(1)</script>", "姓名"),
        ("name", "a\x00b", "无法保存"),
        ("password", "short", "10 至 128"),
        ("password", "aaaaaaaaaaaaaa", "不同的字符"),
    ],
)
async def test_what_does_not_fit_is_said_and_not_repeated(
    house: House, capsys: pytest.CaptureFixture[str], field: str, value: str, says: str
) -> None:
    answer = await _register(house, **{field: value})
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["errors"][0]["pointer"] == f"/body/{field}"
    assert says in problem["errors"][0]["message"]
    assert value not in answer.text
    assert value not in capsys.readouterr().out


@pytest.mark.parametrize(
    "body",
    [
        {},
        {**NEW, "level": "L4"},
        {**NEW, "name": None},
        {**NEW, "password": {"a": 1}},
        {**NEW, "name": "长" * 5000},
        [],
        "text",
    ],
)
async def test_bad_bodies(house: House, body: Any) -> None:
    answer = await house.http.post("/v1/accounts", json=body, headers=key())
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_registrations_of_an_address_are_counted(house: House) -> None:
    async with house.running.runtime.sessions.begin() as session:
        await _register(house, phone="13900000128")
        for row in await session.scalars(select(Attempts)):
            row.tries = 20
    answer = await _register(house, phone="13900000129")
    assert answer.status_code == 429
    assert answer.json()["code"] == "too_many"


async def test_a_service_reads_the_holder_and_the_person_sees_it(house: House) -> None:
    service = await house.service("svc-licence")
    path = "/internal/v1/accounts/acc_lisi/holder"
    answer = await house.http.get(f"{path}?purpose=licence_issue", headers=service)
    assert answer.json() == {
        "id": "acc_lisi",
        "kind": "person",
        "level": "L3",
        "name": "李四",
        "id_number": "31011519881102302X",
    }
    for _ in range(3):
        await house.http.get(path, headers=service)
    person = bearer(await house.signed_in("13800000002"))
    page = (await house.http.get("/v1/me/access-log?limit=3", headers=person)).json()
    assert len(page["items"]) == 3
    last = (await house.http.get(page["next"], headers=person)).json()
    assert last["next"] is None
    assert last["items"][0]["reader"] == "svc-licence"
    assert last["items"][0]["purpose"] == "licence_issue"
    assert last["items"][0]["fields"] == ["name", "id_number"]
    other = bearer(await house.signed_in("13800000001"))
    assert (await house.http.get(page["next"], headers=other)).json()["code"] == "bad_cursor"
    assert (await house.http.get("/v1/me/access-log", headers=other)).json()["items"] == []


async def test_who_may_read_the_holder(house: House) -> None:
    path = "/internal/v1/accounts/acc_lisi/holder"
    assert (await house.http.get(path)).status_code == 401
    for login in ("13800000002", "o01"):
        headers = bearer(await house.signed_in(login))
        assert (await house.http.get(path, headers=headers)).status_code == 403
    partner = await house.service("dept-SAMR")
    assert (await house.http.get(path, headers=partner)).status_code == 403
    service = await house.service()
    unknown = await house.http.get("/internal/v1/accounts/acc_x/holder", headers=service)
    assert unknown.json()["code"] == "not_found"
    bad = await house.http.get(f"{path}?purpose=a%20b", headers=service)
    assert bad.status_code == 422
    async with house.running.runtime.sessions() as session:
        logged = (await session.scalars(select(AccessLog.purpose))).all()
    assert "a b" not in logged


async def test_departments(house: House) -> None:
    places = (await house.http.get("/v1/departments")).json()
    assert len(places["departments"]) == 26
    assert len(places["districts"]) == 16
    assert {"code": "310115", "name": "浦东新区"} in places["districts"]
    assert all(d["uscc_synthetic"] for d in places["departments"])


async def test_nothing_personal_in_the_clear_in_the_database(house: House) -> None:
    async with house.running.runtime.sessions() as session:
        tables = (
            await session.scalars(text("select tablename from pg_tables where schemaname='public'"))
        ).all()
        assert "account" in tables
        for table in tables:
            dump = str((await session.scalars(text(f'select t::text from "{table}" t'))).all())
            for personal in ("张三", "310115199003077411", "13800000001", "Beam-demo-2026"):
                assert personal not in dump, table
                assert personal.encode().hex() not in dump, table
