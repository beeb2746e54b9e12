"""Facts that are wrong: the person asks, the department that they come from decides."""

from datetime import date
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select, text, update

from identity_svc import profile_rules, profiles
from identity_svc.models import AccessLog, StaffMember
from identity_svc.models_corrections import FactCorrection
from identity_svc.models_personal import ProfileFact, ProfileTag
from kit.clock import WorkCalendar, city_day, now
from kit.outbox import Outbox
from kit.testing import key, until

from .conftest import House, bearer

WHO, WANTED, REASON = "acc_zhangsan", "1950-03-08", "身份证号办理时登记有误"
DESK = "/v1/fact-corrections"


@pytest.fixture
async def owner(house: House) -> dict[str, str]:
    """张三, whose profile knows the date of birth, the gender and a licence."""
    headers = bearer(await house.signed_in())
    runtime = house.running.runtime

    async def known() -> bool:
        """The broker brought us what we told of our own accounts."""
        told = "select count(*) from outbox where subject like 'evt.identity.account_registered.%'"
        seen = "select count(*) from inbox where consumer = 'identity__know_registered'"
        async with runtime.sessions() as session:
            return bool(await session.scalar(text(f"select ({seen}) >= ({told})")))

    await until(known)
    async with runtime.sessions.begin() as session:
        for model in (FactCorrection, ProfileTag, ProfileFact):
            await session.execute(delete(model))
        await profiles.proven(session, runtime.vault, WHO)
        await profiles.learn(
            session,
            runtime.vault,
            WHO,
            key="licence.LT-BIZ",
            value="LT-BIZ",
            source="licence",
            source_ref="lic_1",
            dept="SAMR",
            obtained_at=now(),
        )
    return headers


async def fact(house: House, headers: dict[str, str], name: str) -> dict[str, Any]:
    body = (await house.http.get("/v1/me/profile", headers=headers)).json()
    found: dict[str, Any] = next(one for one in body["facts"] if one["key"] == name)
    return found


async def ask(
    house: House, headers: dict[str, str], name: str, wanted: str = WANTED
) -> httpx.Response:
    body = {
        "fact_id": (await fact(house, headers, name))["id"],
        "wanted": wanted,
        "reason": REASON,
    }
    url = "/v1/me/profile/corrections"
    return await house.http.post(url, json=body, headers={**headers, **key()})


async def staff(house: House, number: str, dept: str) -> dict[str, str]:
    """A reviewer of this department."""
    async with house.running.runtime.sessions.begin() as session:
        theirs = StaffMember.number == number
        await session.execute(update(StaffMember).where(theirs).values(dept=dept))
    return bearer(await house.signed_in(number))


async def decide(
    house: House, headers: dict[str, str], correction_id: str, action: str, **body: Any
) -> httpx.Response:
    return await house.http.post(f"{DESK}/{correction_id}/{action}", json=body, headers=headers)


async def told(house: House, correction_id: str) -> list[str]:
    async with house.running.runtime.sessions() as session:
        rows = await session.execute(select(Outbox.subject, Outbox.body).order_by(Outbox.seq))
        return [row.subject.split(".")[2] for row in rows if correction_id in row.body]


async def test_the_department_accepts(house: House, owner: dict[str, str]) -> None:
    asked = await ask(house, owner, "birth_date")
    assert asked.status_code == 201, asked.text
    made = asked.json()
    due = WorkCalendar.load().add_working_days(city_day(now()), 15).due
    assert (made["state"], made["dept"], made["due"]) == ("requested", "PSB", due.isoformat())
    again = await ask(house, owner, "birth_date")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")

    other = await staff(house, "r01", "SAMR")
    assert (await house.http.get(DESK, headers=other)).json()["items"] == []
    for action in ("accept", "refuse"):
        assert (await decide(house, other, made["id"], action, answer="x")).status_code == 404
    police = await staff(house, "r02", "PSB")
    listed = await house.http.get(DESK, headers=police)
    assert [one["id"] for one in listed.json()["items"]] == [made["id"]]
    assert WANTED not in listed.text, "nothing personal in the list"
    seen = await house.http.get(f"{DESK}/{made['id']}", headers=police)
    assert (seen.json()["present"], seen.json()["wanted"]) == ("1990-03-07", WANTED)
    stale = await house.http.post(
        f"{DESK}/{made['id']}/accept", json={"answer": "x"}, headers={**police, "if-match": '"7"'}
    )
    assert stale.status_code == 412
    odd = await decide(house, police, made["id"], "accept", answer="x", value="2050-01-01")
    assert (odd.status_code, odd.json()["code"]) == (422, "invalid")
    done = await decide(house, police, made["id"], "accept", answer="已核对户籍档案")
    assert (done.status_code, done.json()["state"]) == (200, "accepted"), done.text
    twice = await decide(house, police, made["id"], "refuse", answer="x")
    assert (twice.status_code, twice.json()["code"]) == (409, "illegal_move")

    assert (await fact(house, owner, "birth_date"))["value"] == WANTED
    tags = (await house.http.get("/v1/me/profile/tags", headers=owner)).json()["items"]
    assert "senior" in {tag["code"] for tag in tags}, "the tags follow"
    mine = (await house.http.get("/v1/me/profile/corrections", headers=owner)).json()["items"]
    assert [(one["state"], one["answer"]) for one in mine] == [("accepted", "已核对户籍档案")]
    assert await told(house, made["id"]) == ["fact_correction_requested", "fact_corrected"]
    async with house.running.runtime.sessions() as session:
        read = AccessLog.object_id == made["id"]
        logged = (await session.scalars(select(AccessLog).where(read))).all()
        row = await session.get_one(FactCorrection, made["id"])
        bodies = " ".join(await session.scalars(select(Outbox.body)))
    assert {(one.dept, one.purpose) for one in logged} == {("PSB", "correction")}
    for sealed, word in ((row.wanted, WANTED), (row.reason, REASON)):
        assert word.encode() not in sealed
        assert word not in bodies
    runtime = house.running.runtime
    async with runtime.sessions.begin() as session:
        await profiles.proven(session, runtime.vault, WHO)
    assert (await fact(house, owner, "birth_date"))["value"] == WANTED, "it stays corrected"


async def test_a_licence_is_changed_by_applying(house: House, owner: dict[str, str]) -> None:
    made = (await ask(house, owner, "licence.LT-BIZ", "店名应为三丰面馆")).json()
    assert made["dept"] == "SAMR"
    reviewer = await staff(house, "r01", "SAMR")
    wrong = await decide(house, reviewer, made["id"], "accept", answer="x")
    assert (wrong.status_code, wrong.json()["code"]) == (409, "conflict")
    done = await decide(
        house, reviewer, made["id"], "refuse", answer="请申请变更登记", item_code="A02"
    )
    assert (done.json()["state"], done.json()["item_code"]) == ("refused", "A02"), done.text
    assert await told(house, made["id"]) == ["fact_correction_requested", "fact_correction_refused"]


async def test_withdrawn_and_not_asked_for(house: House, owner: dict[str, str]) -> None:
    made = (await ask(house, owner, "gender", "female")).json()
    path = f"/v1/me/profile/corrections/{made['id']}/withdraw"
    other = bearer(await house.signed_in("13800000002"))
    assert (await house.http.post(path, headers=other)).status_code == 404
    assert (await house.http.post(path, headers=owner)).json()["state"] == "withdrawn"
    twice = await house.http.post(path, headers=owner)
    assert (twice.status_code, twice.json()["code"]) == (409, "illegal_move")
    odd = await ask(house, owner, "gender", "x")
    assert (odd.status_code, odd.json()["code"]) == (422, "invalid")
    foreign = {"fact_id": made["fact_id"], "wanted": "female", "reason": "x"}
    url = "/v1/me/profile/corrections"
    answer = await house.http.post(url, json=foreign, headers={**other, **key()})
    assert answer.status_code == 404
    put = "/v1/me/profile/facts/occupation"
    await house.http.put(put, json={"value": "厨师"}, headers=owner)
    own = await ask(house, owner, "occupation", "教师")
    assert (own.status_code, own.json()["code"]) == (409, "conflict"), "one's own to change"


@given(st.dates())
def test_a_birthday_is_a_day_of_the_past(day: date) -> None:
    today = date(2026, 11, 22)
    fits = profile_rules.fits("birth_date", day.isoformat(), today)
    assert fits == (date(1900, 1, 1) <= day <= today)
    assert not profile_rules.fits("birth_date", f"{day.isoformat()} ", today)
