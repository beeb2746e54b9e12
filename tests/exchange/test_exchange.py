"""The feed loses and repeats nothing, shows a department only its own, and follows matters."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import text, true

from contracts.audit import LicenceAuditSealed
from contracts.case import CaseClosed, CaseFeeDue, CaseSubmitted
from contracts.event import Envelope
from contracts.payment import PaymentPaid
from exchange_svc import feed, heads, matters
from kit.ids import new_id
from kit.outbox import emit, seal
from kit.testing import Ground, Running, key, until


@pytest.fixture(scope="module")
async def exchange(ground: Ground, nats_url: str) -> AsyncIterator[Running]:
    async with ground.service("exchange_svc", nats=nats_url, partner_depts="SAMR,FIRE") as svc:
        yield svc


def submitted(case_id: str) -> CaseSubmitted:
    return CaseSubmitted(
        case_id=case_id,
        item_code="A05",
        item_version=1,
        item_name="食品经营许可",
        applicant_id="acc_x",
        channel="app",
    )


def envelope(event: Any, version: int, dept: str = "SAMR") -> Envelope:
    case_id = event.case_id
    sealed = seal(event, subject=case_id, version=version, region="310115", dept=dept)
    return Envelope.model_validate_json(sealed.body)


def partner(ground: Ground, dept: str) -> dict[str, str]:
    token = ground.token(f"dept-{dept}", "partner", dept=dept)
    return {"authorization": f"Bearer {token}"}


async def test_the_feed_shows_a_department_its_own_and_operators_all(
    exchange: Running, ground: Ground
) -> None:
    mine, other = new_id("case"), new_id("case")
    async with exchange.runtime.sessions.begin() as session:
        for event in (envelope(submitted(mine), 1), envelope(submitted(other), 1, "TAX")):
            await feed.keep(session, event)
            await feed.keep(session, event)
    page = (await exchange.client.get("/v1/events", headers=partner(ground, "SAMR"))).json()
    assert [e["data"]["case_id"] for e in page["events"] if e["dept"] != "_"] == [mine]
    assert {e["dept"] for e in page["events"]} == {"SAMR"}
    following = await exchange.client.get(page["next"], headers=partner(ground, "SAMR"))
    assert following.json()["events"] == []
    supervisors = {
        region: ground.staff("supervisor", "SAMR", region=region)
        for region in ("310000", "310115", "310104")
    }
    for region, reads in (("310000", True), ("310115", True), ("310104", False)):
        page = (await exchange.client.get("/v1/events", headers=supervisors[region])).json()
        assert (mine in {e["subject"] for e in page["events"]}) == reads, region
        assert other not in {e["subject"] for e in page["events"]}
    operator = ground.staff("operator", "OPS")
    everything = (await exchange.client.get("/v1/events", headers=operator)).json()
    assert {mine, other} <= {e["data"].get("case_id") for e in everything["events"]}
    for headers, status in (
        ({}, 401),
        (ground.person(), 403),
        (ground.staff("reviewer", "SAMR"), 403),
    ):
        assert (await exchange.client.get("/v1/events", headers=headers)).status_code == status


async def test_a_night_is_read_again_since_a_moment(exchange: Running, ground: Ground) -> None:
    before, after = new_id("case"), new_id("case")
    sessions = exchange.runtime.sessions
    async with sessions.begin() as session:
        await feed.keep(session, envelope(submitted(before), 1))
    async with sessions() as session:
        moment = await session.scalar(text("select clock_timestamp()"))
    ask = {"headers": partner(ground, "SAMR"), "params": {"since": moment.isoformat()}}
    early = (await exchange.client.get("/v1/events", **ask)).json()
    assert early["events"] == []
    # The one that began first writes last: its number is the larger, its moment the earlier.
    async with sessions() as slow:
        await slow.execute(text("select now()"))
        async with sessions.begin() as quick:
            await feed.keep(quick, envelope(submitted(after), 1))
        await feed.keep(slow, envelope(submitted(after), 2))
        await slow.commit()

    async def both() -> Any:
        page = (await exchange.client.get("/v1/events", **ask)).json()
        seen = [e["aggregateversion"] for e in page["events"] if e["subject"] == after]
        return page if seen == [1, 2] else None

    page = await until(both)
    assert before not in {e["subject"] for e in page["events"]}
    rest = (await exchange.client.get(page["next"], headers=ask["headers"])).json()
    assert rest["events"] == []
    # The link of the empty answer goes on asking since that moment, not from the very start.
    found = (await exchange.client.get(early["next"], headers=ask["headers"])).json()
    assert [e["id"] for e in found["events"]] == [e["id"] for e in page["events"]]
    for wrong in ("2026-11-22", "0.5", "1790000000", "2026-02-30T00:00:00Z", "2026-11-22T00:00:00"):
        ask["params"]["since"] = wrong
        [error] = (await exchange.client.get("/v1/events", **ask)).json()["errors"]
        assert error["pointer"] == "/query/since"
        assert "+08:00" in error["message"]
    beijing = moment.astimezone(timezone(timedelta(hours=8))).isoformat()
    plain = await exchange.client.get(f"/v1/events?since={beijing}", headers=ask["headers"])
    assert [e["id"] for e in plain.json()["events"]] == [e["id"] for e in page["events"]]


async def test_a_schema_is_found_by_both_names(exchange: Running) -> None:
    short = (await exchange.client.get("/v1/events/schemas/case.submitted.v1")).json()
    whole = (await exchange.client.get("/v1/events/schemas/cn.beam.case.submitted.v1")).json()
    assert short == whole
    assert short["$id"] == envelope(submitted("case_1"), 1).dataschema
    unknown = await exchange.client.get("/v1/events/schemas/cn.beam.case.lost.v1")
    assert unknown.status_code == 404


async def test_a_reader_never_passes_an_open_transaction(exchange: Running) -> None:
    first, second = new_id("case"), new_id("case")
    sessions = exchange.runtime.sessions
    async with sessions() as slow:
        await feed.keep(slow, envelope(submitted(first), 1))
        async with sessions.begin() as quick:
            await feed.keep(quick, envelope(submitted(second), 1))
        async with sessions() as reader:
            rows = await feed.after(reader, seq=0, limit=1000, within=true())
            assert not {first, second} & {row.subject for row in rows}
        await slow.commit()

    async def both() -> bool:
        async with sessions() as reader:
            rows = await feed.after(reader, seq=0, limit=1000, within=true())
            return [r.subject for r in rows if r.subject in (first, second)] == [first, second]

    assert await until(both)


async def test_events_of_the_bus_reach_feed_and_matters(exchange: Running, ground: Ground) -> None:
    case_id = new_id("case")
    async with exchange.runtime.sessions.begin() as session:
        emit(session, submitted(case_id), subject=case_id, version=2, region="310115", dept="SAMR")

    async def there() -> Any:
        answer = await exchange.client.get("/v1/me/matters", headers=ground.person("acc_x"))
        return [m for m in answer.json()["items"] if m["case_id"] == case_id]

    (matter,) = await until(there)
    assert (matter["state"], matter["turn"]) == ("submitted", "authority")


async def test_matters_follow_the_newest_version_only(exchange: Running, ground: Ground) -> None:
    case_id = new_id("case")
    fee = CaseFeeDue(
        case_id=case_id,
        applicant_id="acc_y",
        item_code="A05",
        item_name="食品经营许可",
        fee_code="F",
        amount_fen=1,
    )
    closed = CaseClosed(
        case_id=case_id,
        applicant_id="acc_y",
        item_code="A05",
        item_name="食品经营许可",
        channel="app",
        outcome="approved",
    )
    paid = PaymentPaid.model_validate(
        {
            "payment_id": "pay_1",
            "case_id": case_id,
            "payer_id": "acc_y",
            "amount_fen": 1,
            "channel": "wechat",
            "paid_at": "2026-11-22T00:00:00Z",
        }
    )
    seen = []
    for event, version in ((fee, 5), (submitted(case_id), 2), (paid, 1), (closed, 9), (fee, 5)):
        async with exchange.runtime.sessions.begin() as session:
            await matters.follow(session, envelope(event, version))
        async with exchange.runtime.sessions() as session:
            (row,) = await matters.of(session, "acc_y", after=None, limit=5)
            seen.append((row.state, row.turn))
    assert seen == [
        ("fee_due", "applicant"),
        ("fee_due", "applicant"),
        ("deciding", "authority"),
        ("closed", "nobody"),
        ("closed", "nobody"),
    ]


async def test_partners_are_connected_and_registered_once(
    exchange: Running, ground: Ground
) -> None:
    operator = ground.staff("operator", "OPS")

    async def connected() -> bool:
        rows = (await exchange.client.get("/v1/partners", headers=operator)).json()
        states = {row["dept"]: row["state"] for row in rows}
        return states.get("SAMR") == states.get("FIRE") == "connected"

    assert await until(connected)
    body = {"code": "SAMR", "name": "市场监管"}
    again = await exchange.client.post("/v1/partners", json=body, headers={**operator, **key()})
    assert again.status_code == 409
    made = await exchange.client.post(
        "/v1/partners", json={"code": "TAX", "name": "税务"}, headers={**operator, **key()}
    )
    assert made.status_code == 201
    citizen = await exchange.client.get("/v1/partners", headers=ground.person())
    assert citizen.status_code == 403


async def test_schemas_of_events_are_public(exchange: Running) -> None:
    schema = (await exchange.client.get("/v1/events/schemas/case.submitted.v1")).json()
    assert "case_id" in schema["properties"]
    assert (await exchange.client.get("/v1/events/schemas/nope.v1")).status_code == 404


def block(n: int, hash_: str, previous: str, kind: str = "rows") -> Envelope:
    """What licence-svc tells of a block of its chain."""
    told = LicenceAuditSealed(
        block=n, kind=kind, rows=1, previous=previous, hash=hash_, signature=""
    )  # fmt: skip
    body = seal(told, subject="audit_licence", version=n, region="_", dept="_").body
    return Envelope.model_validate_json(body)


@pytest.mark.parametrize(
    ("fork", "named"),
    [
        ([block(3, "c2", "b")], ["licence 3"]),  # the last block made anew
        ([block(2, "b2", "a"), block(3, "c2", "b2")], ["licence 2", "licence 3"]),
        ([block(4, "d2", "c2")], ["licence 4"]),  # what lies before was made anew in silence
        ([block(3, "c", "b")], []),  # told again
    ],
)
async def test_a_chain_that_forked_is_named_until_somebody_looked_at_it(
    exchange: Running, fork: list[Envelope], named: list[str]
) -> None:
    chain = [block(1, "a", "", "first"), block(2, "b", "a"), block(3, "c", "b")]
    async with exchange.runtime.sessions() as session:  # rolled back at its end
        for envelope_ in chain:
            await feed.keep(session, envelope_)
        assert (await heads.check(session))["broken"] == []
        for envelope_ in fork:
            await feed.keep(session, envelope_)
        found = await heads.check(session)
        assert (found["ok"], found["broken"]) == (not named, named)
        assert found["heads"]["licence"]["block"] >= 3
        await feed.keep(session, block(5, "e", "x", "accepted"))
        assert (await heads.check(session))["ok"]
        await feed.keep(session, block(6, "f", "not e"))
        assert (await heads.check(session))["broken"] == ["licence 6"]


async def test_the_feed_is_read_by_index(exchange: Running) -> None:
    async with exchange.runtime.sessions() as session:
        await session.execute(text("set local enable_seqscan = off"))
        plan = await session.scalars(
            text("explain select * from feed_entry where dept='SAMR' and seq > 5 order by seq")
        )
        assert any("Index" in line for line in plan)
    await asyncio.sleep(0)
