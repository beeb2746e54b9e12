"""Operators manage members of staff: rights change at once, nobody raises his own."""

from typing import Any

import pytest
from sqlalchemy import select

from beam import staff_desk
from beam.told import who
from beam.trouble import Trouble
from identity_svc.models import Account
from kit.audit import StaffAction
from kit.auth import Caller
from kit.testing import Ground, key, until

from .conftest import PASSWORD, House, Start, bearer

RIGHTS = {"roles": ["reviewer"], "dept": "FIRE", "region": "310000", "items": ["A05", "B01"]}
NEW = {**RIGHTS, "number": "r77", "name": "冯新人", "password": "a long enough secret"}


@pytest.fixture
async def operator(house: House) -> dict[str, str]:
    return bearer(await house.signed_in("o01"))


async def _add(house: House, operator: dict[str, str], **changes: Any) -> Any:
    headers = {**operator, **key()}
    return await house.http.post("/v1/staff", json={**NEW, **changes}, headers=headers)


async def _claims(house: House, token: str) -> Caller:
    return await house.running.runtime.keyring.verify(token)


async def _number(house: House, operator: dict[str, str], number: str) -> Any:
    answer = await house.http.get("/v1/staff?limit=100", headers=operator)
    return next(row for row in answer.json()["items"] if row["number"] == number)


async def test_somebody_new_signs_in_with_these_rights(
    house: House, operator: dict[str, str]
) -> None:
    made = await _add(house, operator)
    assert made.status_code == 201, made.text
    assert made.json()["name"] == "冯**"
    start = Start()
    back = await house.browser().sign_in(start, "r77", str(NEW["password"]))
    token = (await house.exchange(start, back["code"])).json()["access_token"]
    caller = await _claims(house, token)
    assert (caller.kind, caller.roles) == ("staff", {"reviewer"})
    assert (caller.dept, caller.region, caller.items) == ("FIRE", "310000", {"A05", "B01"})
    me = await house.http.get("/v1/me", headers={"authorization": f"Bearer {token}"})
    assert me.json()["staff"]["items"] == ["A05", "B01"]


async def test_a_number_is_one_persons(house: House, operator: dict[str, str]) -> None:
    assert (await _add(house, operator, number="r78")).status_code == 201
    again = await _add(house, operator, number="r78")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    "wrong",
    [{"dept": "NONE"}, {"region": "110000"}, {"roles": []}, {"roles": ["king"]}, {"items": []}],
)
async def test_unfit_rights(house: House, operator: dict[str, str], wrong: Any) -> None:
    answer = await _add(house, operator, number="r79", **wrong)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_changed_rights_end_the_old_token(house: House, operator: dict[str, str]) -> None:
    signed = await house.signed_in("r02")
    row = await _number(house, operator, "r02")
    assert (row["roles"], row["items"]) == (["reviewer"], None)
    path = f"/v1/staff/{row['id']}/rights"
    new = {"roles": ["counter", "reviewer"], "dept": "FIRE", "region": "310000"}
    without = await house.http.put(path, json=new, headers=operator)
    assert (without.status_code, without.json()["code"]) == (428, "condition_required")
    match = {"if-match": f'"{row["version"]}"'}
    changed = await house.http.put(path, json=new, headers={**operator, **match})
    assert changed.status_code == 200, changed.text
    assert changed.json()["version"] == row["version"] + 1
    stale = await house.http.put(path, json=new, headers={**operator, **match})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")

    async def refused() -> bool:
        answer = await house.http.get("/v1/me", headers=bearer(signed))
        return bool(answer.status_code == 401)

    await until(refused)


async def test_nobody_touches_his_own_rights(house: House, operator: dict[str, str]) -> None:
    mine = await _number(house, operator, "o01")
    new = {"roles": ["operator", "reviewer"], "dept": "SAMR", "region": "310000"}
    match = {**operator, "if-match": f'"{mine["version"]}"'}
    path = f"/v1/staff/{mine['id']}"
    for answer in (
        await house.http.put(f"{path}/rights", json=new, headers=match),
        await house.http.post(f"{path}/switch-off", headers=match),
        await house.http.post(f"{path}/switch-on", headers=match),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await _number(house, operator, "o01")) == mine


async def test_switched_off_and_on(house: House, operator: dict[str, str]) -> None:
    row = await _number(house, operator, "w01")
    path = f"/v1/staff/{row['id']}"
    off = await house.http.post(f"{path}/switch-off", headers=operator)
    assert (off.status_code, off.json()["state"]) == (200, "suspended")
    browser = house.browser()
    await browser.get(Start().url)
    await browser.submit(login="w01", password=PASSWORD)
    assert "location" not in browser.page.headers, "it must not sign in"
    twice = await house.http.post(f"{path}/switch-off", headers=operator)
    assert (twice.status_code, twice.json()["code"]) == (409, "illegal_move")
    on = await house.http.post(f"{path}/switch-on", headers=operator)
    assert on.json()["state"] == "active"
    assert "code" in await house.browser().sign_in(Start(), "w01")


async def test_a_person_is_no_member_of_staff(house: House, operator: dict[str, str]) -> None:
    for account in ("acc_zhangsan", "stf_nobody"):
        answer = await house.http.get(f"/v1/staff/{account}", headers=operator)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_by_department(house: House, operator: dict[str, str]) -> None:
    answer = await house.http.get("/v1/staff?dept=SAMR&limit=2", headers=operator)
    first = answer.json()
    rest = (await house.http.get(first["next"], headers=operator)).json()["items"]
    numbers = [row["number"] for row in first["items"] + rest]
    assert sorted(numbers) == ["o01", "r01", "s01", "w01"]


async def test_only_operators(house: House) -> None:
    for login in ("13800000001", "r01", "s01"):
        answer = await house.http.get("/v1/staff", headers=bearer(await house.signed_in(login)))
        assert answer.status_code == 403


async def test_names_lie_sealed(house: House, operator: dict[str, str]) -> None:
    made = (await _add(house, operator, number="r80")).json()
    async with house.running.runtime.sessions() as session:
        account = await session.get_one(Account, made["id"])
    assert "冯新人".encode() not in account.name


async def test_the_first_operator_comes_from_the_command_line(
    house: House, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = house.running.runtime.settings
    monkeypatch.setenv("BEAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("BEAM_VAULT_KEY_FILE", str(ground.vault_file))
    monkeypatch.setenv("BEAM_ENVIRONMENT", "test")
    first = {
        "number": "o0001",
        "name": "吴运维",
        "roles": ["operator"],
        "dept": "SAMR",
        "region": "310000",
    }
    made = await staff_desk.enter(first, by="tester")
    start = Start()
    back = await house.browser().sign_in(start, "o0001", made["password"])
    token = (await house.exchange(start, back["code"])).json()["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    assert (await _add(house, headers, number="r90")).status_code == 201
    async with house.running.runtime.sessions() as session:
        acts = select(StaffAction).where(StaffAction.actor == "cli:tester")
        [act] = await session.scalars(acts)
        assert (act.action, act.things) == ("add_staff", {"account_id": made["id"]})
    with pytest.raises(Trouble, match="taken"):
        await staff_desk.enter(first, by="tester")
    with pytest.raises(Trouble, match="roles"):
        await staff_desk.enter({**first, "roles": ["king"]}, by="tester")


def test_a_command_names_who_gave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert who("zhou")
    monkeypatch.setattr("os.getuid", lambda: 10_001)  # as in a container
    assert who("zhou") == "zhou"
    with pytest.raises(Trouble, match="--by"):
        who("")
