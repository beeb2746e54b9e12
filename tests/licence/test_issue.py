"""From the decision to the licence."""

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from kit.ids import new_id
from kit.testing import Ground, Running, until
from licence_svc import licences
from licence_svc.models import Licence

from .conftest import ZHANG, Grantor, Others, away, decided, deliver, order_of


async def issued(svc: Running, case_id: str) -> Licence:
    async def find() -> Licence | None:
        async with svc.runtime.sessions() as session:
            return await session.scalar(select(Licence).filter_by(case_id=case_id))

    row: Licence = await until(find)
    return row


async def events(svc: Running, subject: str, kind: str) -> list[dict[str, Any]]:
    query = text(
        "select body::jsonb from outbox where body::jsonb ->> 'subject' = :subject"
        " and body::jsonb ->> 'type' = :type order by seq"
    )
    async with svc.runtime.sessions() as session:
        rows = await session.scalars(query, {"subject": subject, "type": f"cn.beam.{kind}"})
        return list(rows)


async def test_an_approved_case_gets_its_licence(svc: Running, others: Others) -> None:
    case_id = new_id("case")
    await deliver(svc, decided(case_id))
    row = await issued(svc, case_id)
    assert (row.licence_type, row.name, row.state) == ("LT-FOOD", "食品经营许可证", "active")
    assert row.valid_until == licences.last_day(row.valid_from, 5)
    [event] = await events(svc, row.id, "licence.issued.v1")
    assert event["data"] == {
        "licence_id": row.id,
        "licence_type": "LT-FOOD",
        "holder_id": ZHANG.account_id,
        "case_id": case_id,
        "item_code": "A05",
        "valid_from": row.valid_from.isoformat(),
        "valid_until": row.valid_until.isoformat() if row.valid_until else None,
        "delivery": "courier",
        "address_id": "addr_1",
    }
    assert (event["region"], event["dept"]) == ("310115", "SAMR")
    assert event["correlationid"] == "req-of-the-case"
    order = await order_of(svc, case_id)
    assert order is not None
    assert (order.state, order.licence_id, order.trouble) == ("issued", row.id, None)


async def test_no_personal_data_lies_open(
    svc: Running, others: Others, capsys: pytest.CaptureFixture[str]
) -> None:
    case_id = new_id("case")
    await deliver(svc, decided(case_id))
    row = await issued(svc, case_id)
    async with svc.runtime.sessions() as session:
        stored = await session.scalar(
            text("select row_to_json(l)::text from licence l where id = :id"), {"id": row.id}
        )
        outbox = await session.scalar(text("select string_agg(body, '') from outbox"))
    log = capsys.readouterr().out
    for value in (ZHANG.name, ZHANG.number, "三丰面馆", "某路"):
        assert value not in stored
        assert value not in outbox
        assert value not in log


async def test_the_event_twice_makes_one_licence(svc: Running, others: Others) -> None:
    case_id = new_id("case")
    envelope = decided(case_id)
    assert await deliver(svc, envelope) == 1
    assert await deliver(svc, envelope) == 0
    # The same decision under another event id, as after a restored backup of case-svc.
    assert await deliver(svc, decided(case_id)) == 1
    row = await issued(svc, case_id)
    assert await deliver(svc, decided(case_id)) == 1
    svc.runtime.wake("issue_due")
    await asyncio.sleep(0.3)
    async with svc.runtime.sessions() as session:
        count = select(func.count()).select_from(Licence).filter_by(case_id=case_id)
        assert await session.scalar(count) == 1
    assert len(await events(svc, row.id, "licence.issued.v1")) == 1


async def test_two_processes_share_the_work(
    svc: Running, others: Others, ground: Ground, nats_url: str
) -> None:
    database = svc.runtime.settings.database_url.get_secret_value()
    where = {"identity_url": others.url, "case_url": others.url}
    where["token_url"] = f"{others.url}/oauth2/token"
    async with ground.service("licence_svc", nats=nats_url, database=database, **where) as second:
        assert second.runtime.parts["signer"].key.kid == svc.runtime.parts["signer"].key.kid
        cases = [new_id("case") for _ in range(12)]
        for case_id in cases:
            await deliver(svc, decided(case_id))
            second.runtime.wake("issue_due")
        rows = [await issued(svc, case_id) for case_id in cases]
    for row in rows:
        assert len(await events(svc, row.id, "licence.issued.v1")) == 1
    assert len({row.number for row in rows}) == 12


@pytest.mark.parametrize(
    "changes", [{"outcome": "rejected"}, {"licence_type": None}], ids=["rejected", "no licence"]
)
async def test_other_decisions_order_nothing(svc: Running, changes: dict[str, Any]) -> None:
    case_id = new_id("case")
    await deliver(svc, decided(case_id, **changes))
    assert await order_of(svc, case_id) is None


async def test_it_waits_for_identity_and_tells_operators_why(
    svc: Running, others: Others, ground: Ground
) -> None:
    case_id = new_id("case")
    operator = ground.staff("operator", "DATA")

    async def in_trouble() -> dict[str, Any] | None:
        answer = await svc.client.get("/v1/licence-orders", headers=operator)
        assert answer.status_code == 200
        assert ZHANG.name not in answer.text
        mine = [o for o in answer.json()["items"] if o["case_id"] == case_id and o["trouble"]]
        return mine[0] if mine else None

    async with away(others):
        await deliver(svc, decided(case_id))
        order = await until(in_trouble)
        assert order["trouble"] == "unavailable:identity"
        assert order["tries"] >= 1
    again = await svc.client.post(f"/v1/licence-orders/{order['id']}/retry", headers=operator)
    assert again.status_code == 200
    await issued(svc, case_id)


async def test_an_unproven_holder_gets_none_until_proven(svc: Running, others: Others) -> None:
    case_id = new_id("case")
    others.holders[ZHANG.account_id]["id_number"] = None

    async def trouble() -> str | None:
        order = await order_of(svc, case_id)
        return order.trouble if order else None

    await deliver(svc, decided(case_id))
    assert await until(trouble) == "holder_unproven"
    others.holders[ZHANG.account_id]["id_number"] = ZHANG.number
    await issued(svc, case_id)


async def test_an_unknown_type_stays_visible(svc: Running, others: Others) -> None:
    case_id = new_id("case")

    async def trouble() -> str | None:
        order = await order_of(svc, case_id)
        return order.trouble if order else None

    await deliver(svc, decided(case_id, licence_type="LT-NONE"))
    assert await until(trouble) == "licence_type_unknown"


async def test_orders_are_for_operators(svc: Running, ground: Ground) -> None:
    for headers, status in (
        ({}, 401),
        (ground.person(), 403),
        (ground.staff("reviewer", "SAMR"), 403),
    ):
        answer = await svc.client.get("/v1/licence-orders", headers=headers)
        assert answer.status_code == status
    missing = await svc.client.post(
        "/v1/licence-orders/licord_none/retry", headers=ground.staff("operator", "DATA")
    )
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_a_new_identity_card_replaces_the_old_one(svc: Running, grant: Grantor) -> None:
    holder = licences.Holder("acc_card", "person", "李四", "310115198501012329")
    first = await grant(holder, licence_type="LT-ID", dept="PSB")
    second = await grant(holder, licence_type="LT-ID", dept="PSB")
    async with svc.runtime.sessions() as session:
        former = await session.get_one(Licence, first.id)
    assert (former.state, former.version, second.state) == ("replaced", 2, "active")
    assert (second.serial, second.edition) == (first.serial, 2)
    assert first.number.split(".")[:8] == second.number.split(".")[:8]


async def test_two_shops_have_two_licences(grant: Grantor) -> None:
    first, second = await grant(licence_type="LT-FOOD"), await grant(licence_type="LT-FOOD")
    assert (first.state, second.state) == ("active", "active")
    assert first.number != second.number


async def test_overdue_licences_expire(svc: Running, grant: Grantor) -> None:
    over = await grant(valid_from=date(2020, 1, 1), years=1)
    long_term = await grant()
    async with svc.runtime.sessions.begin() as session:
        assert await licences.expire_overdue(session) >= 1
    async with svc.runtime.sessions() as session:
        assert (await session.get_one(Licence, over.id)).state == "expired"
        assert (await session.get_one(Licence, long_term.id)).state == "active"


@given(st.dates(date(2000, 1, 1), date(2090, 1, 1)), st.integers(1, 20))
def test_a_validity_of_years_ends_the_day_before(start: date, years: int) -> None:
    end = licences.last_day(start, years)
    assert end is not None
    after = end + timedelta(days=1)
    if (start.month, start.day) == (2, 29):
        assert (after.month, after.day) in {(2, 29), (3, 1)}
    else:
        assert (after.month, after.day) == (start.month, start.day)
    assert after.year == start.year + years


def test_no_years_means_long_term() -> None:
    assert licences.last_day(date(2026, 1, 1), None) is None
