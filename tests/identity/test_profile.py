"""The profile: facts with their sources, tags that follow from them, and who may read what for."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select, text, update

from contracts.case import CaseClosed
from contracts.identity import AccountRegistered, AccountVerified
from contracts.licence import (
    LicenceExpired,
    LicenceIssued,
    LicenceResumed,
    LicenceRevoked,
    LicenceSuspended,
)
from identity_svc import accounts, profile_rules, profiles
from identity_svc.models import AccessLog, Account
from identity_svc.models_personal import ProfileFact
from identity_svc.profile_rules import Known, conclude
from kit.clock import now
from kit.ids import new_id
from kit.outbox import Outbox
from kit.testing import until

from .conftest import House, bearer

WHERE = {"region": "310115", "dept": "SAMR"}


@pytest.fixture
async def owner(house: House) -> AsyncIterator[dict[str, str]]:
    """张三, without a profile before and after."""

    async def forget() -> None:
        async with house.running.runtime.sessions.begin() as session:
            for table in ("profile_tag", "profile_fact"):
                await session.execute(text(f"delete from {table}"))

    async def heard() -> bool:
        """The broker brought us what we told of our own accounts."""
        told = "select count(*) from outbox where subject like 'evt.identity.account_registered.%'"
        seen = "select count(*) from inbox where consumer = 'identity__know_registered'"
        async with house.running.runtime.sessions() as session:
            return bool(await session.scalar(text(f"select ({seen}) >= ({told})")))

    headers = bearer(await house.signed_in())
    await until(heard)
    await forget()
    yield headers
    await forget()


def issued(licence_type: str, licence_id: str, **changes: Any) -> LicenceIssued:
    about: dict[str, Any] = {
        "licence_id": licence_id,
        "licence_type": licence_type,
        "holder_id": "acc_zhangsan",
        "case_id": "case_1",
        "item_code": "A02",
        "valid_from": date(2026, 1, 1),
        "valid_until": None,
    }
    return LicenceIssued(**{**about, **changes})


async def _profile(house: House, headers: dict[str, str]) -> tuple[dict[str, Any], set[str]]:
    body = (await house.http.get("/v1/me/profile", headers=headers)).json()
    return {fact["key"]: fact for fact in body["facts"]}, {tag["code"] for tag in body["tags"]}


async def _told(house: House, tag: str) -> list[bool]:
    async with house.running.runtime.sessions() as session:
        bodies = await session.scalars(
            select(Outbox.body)
            .where(Outbox.subject.startswith("evt.identity.tag_changed.v1."))
            .order_by(Outbox.seq)
        )
        return ['"held":true' in body for body in bodies if f'"tag":"{tag}"' in body]


async def test_a_licence_becomes_a_fact_and_a_tag(house: House, owner: dict[str, str]) -> None:
    licence_id = new_id("lic")
    about = {"licence_id": licence_id, "licence_type": "LT-BIZ", "holder_id": "acc_zhangsan"}
    before = len(await _told(house, "self_employed"))

    async def hear(event: Any, version: int) -> None:
        ran = await house.running.hear(event, times=2, subject=licence_id, version=version, **WHERE)
        assert ran == 1, "the second delivery does nothing"

    await hear(issued("LT-BIZ", licence_id), 1)
    facts, tags = await _profile(house, owner)
    fact = facts["licence.LT-BIZ"]
    assert fact["source"] == {"kind": "licence", "ref": licence_id, "dept": "SAMR"}
    assert (fact["state"], fact["self_declared"], fact["expires_at"]) == ("valid", False, None)
    assert tags == {"self_employed"}
    for version, (event, tagged) in enumerate(
        (
            (LicenceSuspended(**about), False),
            (LicenceResumed(**about), True),
            (LicenceRevoked(**about), False),
        ),
        start=2,
    ):
        await hear(event, version)
        assert ("self_employed" in (await _profile(house, owner))[1]) == tagged
    assert (await _told(house, "self_employed"))[before:] == [True, False, True, False]


async def test_of_many_licences_the_one_that_lasts_longest_carries_the_tag(
    house: House, owner: dict[str, str]
) -> None:
    ends = {name: new_id("lic") for name in ("sooner", "never", "later")}
    valid_until = {"sooner": date(2030, 1, 1), "never": None, "later": date(2031, 1, 1)}
    for name, licence_id in ends.items():
        told = issued("LT-FOOD", licence_id, valid_until=valid_until[name])
        await house.running.hear(told, subject=licence_id, version=1, **WHERE)

    async def carried_until() -> str | None:
        body = (await house.http.get("/v1/me/profile", headers=owner)).json()
        (tag,) = body["tags"]
        assert tag["code"] == "food_business"
        return str(tag["expires_at"])[:10] if tag["expires_at"] else None

    assert await carried_until() is None
    for name, then in (("never", "2031-01-01"), ("later", "2030-01-01")):
        about = {"licence_id": ends[name], "licence_type": "LT-FOOD", "holder_id": "acc_zhangsan"}
        await house.running.hear(LicenceRevoked(**about), subject=ends[name], version=2, **WHERE)
        assert await carried_until() == then


async def test_who_has_much_costs_no_more(house: House, owner: dict[str, str]) -> None:
    runtime, read = house.running.runtime, 0
    async with runtime.sessions.begin() as session:
        for number in range(300):
            fact = ProfileFact(
                id=new_id("fact"),
                account_id="acc_zhangsan",
                key=("case.A05", "licence.LT-FOOD")[number % 2],
                source="licence",
                source_ref=f"ref_{number}",
                purposes=[],
                state="valid",
                source_version=1,
                obtained_at=now(),
            )
            fact.value = runtime.vault.seal("LT-FOOD", bound_to=f"profile_fact|value|{fact.id}")
            session.add(fact)

    def count(*_: Any) -> None:
        nonlocal read
        read += 1

    sqlalchemy_event.listen(ProfileFact, "load", count)
    try:
        told = issued("LT-FOOD", licence_id := new_id("lic"))
        await house.running.hear(told, subject=licence_id, version=1, **WHERE)
    finally:
        sqlalchemy_event.remove(ProfileFact, "load", count)
    assert read < 10


async def test_events_in_the_wrong_order(house: House, owner: dict[str, str]) -> None:
    licence_id = new_id("lic")
    gone = LicenceExpired(licence_id=licence_id, licence_type="LT-FOOD", holder_id="acc_zhangsan")
    await house.running.hear(gone, subject=licence_id, version=2, **WHERE)
    late = issued("LT-FOOD", licence_id, valid_until=date(2030, 1, 1))
    await house.running.hear(late, subject=licence_id, version=1, **WHERE)
    facts, tags = await _profile(house, owner)
    assert (facts["licence.LT-FOOD"]["state"], tags) == ("expired", set())
    assert facts["licence.LT-FOOD"]["expires_at"].startswith("2030-01-01T16:00")


async def test_a_closed_case_is_remembered(house: House, owner: dict[str, str]) -> None:
    case = CaseClosed(
        case_id="case_9",
        applicant_id="acc_zhangsan",
        item_code="A05",
        item_name="食品经营许可",
        channel="online",
        outcome="approved",
    )
    assert await house.running.hear(case, times=2, subject="case_9", version=7, **WHERE) == 1
    facts, _ = await _profile(house, owner)
    assert facts["case.A05"]["value"] == "approved"
    assert facts["case.A05"]["source"] == {"kind": "case", "ref": "case_9", "dept": "SAMR"}
    stranger = case.model_copy(update={"applicant_id": "acc_of_nobody", "case_id": "case_10"})
    assert await house.running.hear(stranger, subject="case_10", version=7, **WHERE) == 1


async def test_the_register_tells_the_birthday(house: House, owner: dict[str, str]) -> None:
    seen = AccountRegistered(account_id="acc_zhangsan", kind="person")
    await house.running.hear(seen, times=2, subject="acc_zhangsan", version=1)
    facts, tags = await _profile(house, owner)
    assert (facts["birth_date"]["value"], facts["gender"]["value"]) == ("1990-03-07", "male")
    assert facts["birth_date"]["source"]["kind"] == "register"
    assert tags == set()
    proven = AccountVerified(account_id="acc_zhangsan", level="L2", by="real_name")
    await house.running.hear(proven, subject="acc_zhangsan", version=2)
    assert len((await _profile(house, owner))[0]) == 2


async def test_what_people_declare_is_marked_so(house: House, owner: dict[str, str]) -> None:
    path = "/v1/me/profile/facts/veteran"
    for value, tags in (("yes", {"veteran"}), ("no", set()), ("yes", {"veteran"})):
        said = await house.http.put(path, json={"value": value}, headers=owner)
        assert said.status_code == 200, said.text
        assert (said.json()["value"], said.json()["self_declared"]) == (value, True)
        assert (await _profile(house, owner))[1] == tags
    held = (await house.http.get("/v1/me/profile/tags", headers=owner)).json()["items"]
    assert [(tag["code"], tag["fact"], tag["self_declared"]) for tag in held] == [
        ("veteran", "veteran", True)
    ]
    assert (await house.http.delete(path, headers=owner)).status_code == 204
    assert await _profile(house, owner) == ({}, set())
    assert (await house.http.delete(path, headers=owner)).json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("veteran", "maybe", "invalid"),
        ("occupation", "x" * 61, "invalid"),
        ("birth_date", "1950-01-01", "not_found"),
        ("licence", "LT-BIZ", "not_found"),
        ("nothing_known", "x", "not_found"),
    ],
)
async def test_not_everything_is_ones_own_to_say(
    house: House, owner: dict[str, str], key: str, value: str, code: str
) -> None:
    answer = await house.http.put(
        f"/v1/me/profile/facts/{key}", json={"value": value}, headers=owner
    )
    assert answer.json()["code"] == code
    assert "1950" not in answer.text


async def test_what_is_over_expires(house: House, owner: dict[str, str]) -> None:
    runtime = house.running.runtime
    await house.http.put("/v1/me/profile/facts/veteran", json={"value": "yes"}, headers=owner)
    long_ago = now() - timedelta(days=1)
    async with runtime.sessions.begin() as session:
        await session.execute(update(ProfileFact).values(expires_at=long_ago, due_at=long_ago))
    async with runtime.sessions.begin() as session:
        assert await profiles.look_again(session, runtime.vault) == 1
    facts, tags = await _profile(house, owner)
    assert (facts["veteran"]["state"], tags) == ("expired", set())
    async with runtime.sessions.begin() as session:
        assert await profiles.look_again(session, runtime.vault) == 0


async def test_a_service_reads_what_its_purpose_allows(house: House, owner: dict[str, str]) -> None:
    await house.http.put("/v1/me/profile/facts/address", json={"value": "南京路1号"}, headers=owner)
    await house.running.hear(issued("LT-BIZ", "lic_x"), subject="lic_x", version=1, **WHERE)
    path, service = "/internal/v1/accounts/acc_zhangsan/profile", await house.service("svc-case")
    for purpose, keys, tags in (
        ("prefill", {"address", "name", "phone"}, []),
        ("service_task", {"licence.LT-BIZ"}, ["self_employed"]),
    ):
        found = await house.http.get(path, params={"purpose": purpose}, headers=service)
        assert found.status_code == 200, found.text
        assert (set(found.json()["values"]), found.json()["tags"]) == (keys, tags)
    assert found.json()["values"]["licence.LT-BIZ"] == "LT-BIZ"
    logged = (await house.http.get("/v1/me/access-log?limit=2", headers=owner)).json()["items"]
    assert [(read["purpose"], set(read["fields"])) for read in logged] == [
        ("service_task", {"licence.LT-BIZ"}),
        ("prefill", {"address", "name", "phone"}),
    ]
    for query in ({}, {"purpose": "curiosity"}):
        refused = await house.http.get(path, params=query, headers=service)
        assert refused.status_code == 422
    person = await house.http.get(path, params={"purpose": "prefill"}, headers=owner)
    assert person.status_code == 403
    nobody = path.replace("acc_zhangsan", "acc_nobody")
    missing = await house.http.get(nobody, params={"purpose": "prefill"}, headers=service)
    assert missing.json()["code"] == "not_found"


async def test_values_lie_sealed(house: House, owner: dict[str, str]) -> None:
    await house.http.put("/v1/me/profile/facts/address", json={"value": "南京路1号"}, headers=owner)
    async with house.running.runtime.sessions() as session:
        row = (await session.scalars(select(ProfileFact))).one()
        told = await session.scalars(select(AccessLog.fields))
        assert all("南京路" not in str(fields) for fields in told)
    assert "南京路1号".encode() not in row.value


def _facts(**values: str) -> list[Known]:
    return [Known(f"fact_{key}", key, value, None) for key, value in values.items()]


@pytest.mark.parametrize(
    ("born", "at", "codes"),
    [
        ("1966-11-22", "2026-11-21T15:59:59+00:00", set()),
        ("1966-11-22", "2026-11-21T16:00:00+00:00", {"senior"}),
        ("2008-02-29", "2026-02-28T15:59:59+00:00", {"minor"}),
        ("2008-02-29", "2026-02-28T16:00:00+00:00", set()),
    ],
)
def test_ages_begin_and_end_at_midnight_of_the_city(born: str, at: str, codes: set[str]) -> None:
    moment = datetime.fromisoformat(at)
    facts = _facts(birth_date=born)
    assert {c.code for c in conclude("person", facts, moment)} == codes
    assert not list(conclude("enterprise", facts, moment))


def test_the_next_look_is_the_next_birthday_or_the_end() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    look = profile_rules.next_look("birth_date", "2010-05-01", None, at)
    assert look == datetime(2028, 4, 30, 16, tzinfo=UTC)
    ends = datetime(2026, 6, 1, tzinfo=UTC)
    assert profile_rules.next_look("veteran", "yes", ends, at) == ends
    assert profile_rules.next_look("birth_date", "1930-05-01", None, at) is None


def test_a_tag_follows_from_the_fact_that_carries_it_longest() -> None:
    soon, later = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
    facts = [
        Known("fact_1", "licence.LT-FOOD", "LT-FOOD", later),
        Known("fact_2", "licence.LT-FOOD", "LT-FOOD", soon),
    ]
    (found,) = conclude("person", facts, datetime(2026, 1, 1, tzinfo=UTC))
    assert (found.fact_id, found.expires_at) == ("fact_1", later)


async def test_an_unproven_number_says_nothing(house: House, owner: dict[str, str]) -> None:
    runtime, account_id = house.running.runtime, new_id("acc")
    async with runtime.sessions.begin() as session:
        await accounts.register(
            session,
            runtime.vault,
            account_id=account_id,
            name="王某",
            id_number="11010519491231002X",
            password_hash="x",
        )
    async with runtime.sessions.begin() as session:
        await profiles.proven(session, runtime.vault, account_id)
        facts = await session.scalars(
            select(ProfileFact).where(ProfileFact.account_id == account_id)
        )
        assert list(facts) == []
        (await session.get_one(Account, account_id)).level = "L2"
        await session.flush()
        await profiles.proven(session, runtime.vault, account_id)
        held = await profiles.tags(session, account_id)
    assert [tag["code"] for tag in held] == ["senior"]


async def test_an_account_that_closes_meanwhile_learns_nothing_more(
    house: House, owner: dict[str, str]
) -> None:
    runtime, account_id = house.running.runtime, new_id("acc")
    async with runtime.sessions.begin() as session:
        given = {"name": "李某", "id_number": "110105194912310038", "password_hash": "x"}
        await accounts.register(session, runtime.vault, account_id=account_id, **given)
    async with runtime.sessions.begin() as session:
        known = await session.get_one(Account, account_id)
        assert known.state == "active"
        async with runtime.sessions.begin() as other:
            closed = update(Account).where(Account.id == account_id).values(state="closed")
            await other.execute(closed)
        vault, fact = runtime.vault, {"key": "occupation", "value": "farmer", "source": "self"}
        await profiles.learn(session, vault, account_id, **fact, obtained_at=now())  # type: ignore[arg-type]
        facts = select(ProfileFact).where(ProfileFact.account_id == account_id)
        assert list(await session.scalars(facts)) == []
