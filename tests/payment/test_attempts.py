"""Attempts: one live, the same for every repetition; unknown until the channel is asked."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from kit.testing import key, until

from .conftest import PAYER, Town


async def change(town: Town, statement: str, **values: Any) -> None:
    async with town.runtime.sessions.begin() as session:
        await session.execute(text(statement), values)


async def test_ten_at_once_get_one_code(town: Town) -> None:
    order_id = await town.order()
    answers = await asyncio.gather(*(town.start(order_id) for _ in range(10)))
    assert len({answer["attempt_id"] for answer in answers}) == 1
    codes = {answer["code_url"] for answer in answers} - {None}
    assert len(codes) == 1
    assert (await town.start(order_id))["code_url"] in codes
    assert len((await town.book(order_id))["orders"]) == 1


@pytest.mark.parametrize(
    ("kind", "moment"), [("timeout", "before"), ("timeout", "after"), ("500", "after")]
)
async def test_no_answer_is_unknown_until_a_query(town: Town, kind: str, moment: str) -> None:
    await town.outside.sim("wechat/faults", call="order", kind=kind, moment=moment)
    order_id = await town.order()
    first = await town.start(order_id)
    # The sweeper may have asked while the call was still waiting.
    assert (first["state"], first["code_url"] is None) in (("unknown", True), ("submitted", False))
    found = await town.attempt_reaches(order_id, "submitted")
    assert found["attempt_id"] == first["attempt_id"]
    await town.pay(found)
    await town.reaches(order_id, "paid")
    book = await town.book(order_id)
    assert (len(book["orders"]), len(book["payments"])) == (1, 1)


async def test_queries_that_our_own_trouble_ended_do_not_make_the_pauses_longer(
    town: Town,
) -> None:
    order_id = await town.order()
    attempt = await town.start(order_id)
    # With this rule what the channel says of a payment cannot be booked.
    booked = "alter table charge add constraint none_today check (amount_fen < 0) not valid"
    await change(town, booked)
    await town.outside.sim("wechat/notices", drop=True)

    claims: set[object] = set()

    async def claimed_again_and_again() -> bool:
        town.runtime.wake("sweep_attempts")
        query = "select next_query_at from attempt where order_id = :id"
        claims.update(await town.column(query, id=order_id))
        return len(claims) > 4

    try:
        await town.pay(attempt)
        before = await town.column("select queries from attempt where order_id = :id", id=order_id)
        await until(claimed_again_and_again, seconds=60)
        after = await town.column("select queries from attempt where order_id = :id", id=order_id)
        assert after == before
    finally:
        await change(town, "alter table charge drop constraint none_today")
    await town.reaches(order_id, "paid")


async def test_answer_lost_by_a_magic_amount(town: Town) -> None:
    order_id = await town.order(404)
    await town.start(order_id)
    found = await town.attempt_reaches(order_id, "submitted")
    codes = [row["code_url"] for row in (await town.book(order_id))["orders"]]
    assert codes == [found["code_url"]]


async def test_refused_by_the_channel_can_be_tried_again(town: Town) -> None:
    await town.outside.sim("wechat/faults", call="order", kind="429")
    order_id = await town.order()
    assert (await town.start(order_id, status=502))["code"] == "channel_refused"
    await town.attempt_reaches(order_id, "failed")
    assert (await town.start(order_id))["state"] == "submitted"


async def test_failed_payment_frees_the_order_for_another_attempt(town: Town) -> None:
    order_id = await town.order(402)
    first = await town.start(order_id)
    await town.pay(first)
    await town.attempt_reaches(order_id, "failed")
    second = await town.start(order_id)
    assert second["attempt_id"] != first["attempt_id"]
    states = [row["state"] for row in (await town.book(order_id))["orders"]]
    assert states == ["CLOSED", "NOTPAY"]


async def test_renewing_closes_the_old_code_first(town: Town) -> None:
    order_id = await town.order()
    first = await town.start(order_id)
    worn = "update attempt set expires_at = now() + interval '9 seconds' where order_id = :id"
    await change(town, worn, id=order_id)
    second = await town.start(order_id)
    assert second["code_url"] != first["code_url"]
    states = [row["state"] for row in (await town.book(order_id))["orders"]]
    assert states == ["CLOSED", "NOTPAY"]
    await town.pay(second)
    await town.reaches(order_id, "paid")


async def test_renewing_meets_a_payment_that_was_quicker(town: Town) -> None:
    await town.outside.sim("wechat/notices", drop=True)
    order_id = await town.order()
    first = await town.start(order_id)
    worn = (
        "update attempt set expires_at = now() + interval '9 seconds',"
        " next_query_at = now() + interval '1 hour' where order_id = :id"
    )
    await change(town, worn, id=order_id)
    await town.pay(first)
    assert (await town.start(order_id, status=409))["code"] == "not_payable"
    assert (await town.get(order_id))["state"] == "paid"
    assert len((await town.book(order_id))["orders"]) == 1


async def test_success_of_an_older_attempt_wins_and_closes_the_newer(town: Town) -> None:
    order_id = await town.order()
    await town.start(order_id)
    [number] = await town.column("select trade_no from attempt where order_id = :id", id=order_id)
    worn = "update attempt set expires_at = now() + interval '9 seconds' where order_id = :id"
    await change(town, worn, id=order_id)
    await town.start(order_id)
    answer = await town.call_back(*town.sign({"out_trade_no": number}))
    assert answer.status_code == 204
    await town.attempt_reaches(order_id, "closed")
    states = "select state from attempt where order_id = :id order by n"
    assert await town.column(states, id=order_id) == ["paid", "closed"]
    assert (await town.get(order_id))["state"] == "paid"


async def test_unpaid_order_expires_after_its_code_is_closed(town: Town) -> None:
    order_id = await town.order()
    attempt = await town.start(order_id)
    await change(town, "update payment_order set expires_at = now() where id = :id", id=order_id)
    assert (await town.start(order_id, status=409))["code"] == "not_payable"
    await town.reaches(order_id, "expired")
    assert [row["state"] for row in (await town.book(order_id))["orders"]] == ["CLOSED"]
    assert await town.types(order_id) == ["created.v1", "expired.v1"]
    assert (await town.get(order_id))["attempt"]["attempt_id"] == attempt["attempt_id"]


async def test_order_never_started_expires(town: Town) -> None:
    order_id = await town.order()
    await change(town, "update payment_order set expires_at = now() where id = :id", id=order_id)
    await town.reaches(order_id, "expired")


async def test_a_payment_in_the_last_moment_beats_the_expiry(town: Town) -> None:
    await town.outside.sim("wechat/notices", drop=True)
    order_id = await town.order()
    attempt = await town.start(order_id)
    await town.pay(attempt)
    await change(town, "update payment_order set expires_at = now() where id = :id", id=order_id)
    await town.reaches(order_id, "paid")
    assert await town.types(order_id) == ["created.v1", "paid.v1"]


async def test_only_the_payer_and_the_lead_department_see_it(town: Town) -> None:
    order_id = await town.order()
    [order] = [await town.get(order_id)]
    ground, client = town.ground, town.service.client
    strangers = [
        ground.person("acc_lisi"),
        ground.staff("reviewer", "FIRE"),
        ground.staff("reviewer", "SAMR", region="310104"),
    ]
    for stranger in strangers:
        answer = await client.get(f"/v1/payments/{order_id}", headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        listed = await client.get(
            "/v1/payments", params={"case_id": order["case_id"]}, headers=stranger
        )
        assert listed.json()["items"] == []
    path, pay = f"/v1/payments/{order_id}/attempts", {"channel": "wechat_native"}
    for headers, status in ((strangers[0], 404), (strangers[1], 403), ({}, 401)):
        answer = await client.post(path, headers={**headers, **key()}, json=pay)
        assert answer.status_code == status
    await town.start(order_id)
    for colleague in (
        ground.staff("reviewer", "SAMR"),
        ground.staff("reviewer", "SAMR", region="310000"),
    ):
        answer = await client.get(f"/v1/payments/{order_id}", headers=colleague)
        assert (answer.status_code, answer.json()["attempt"]) == (200, None)
    operator = await client.get("/v1/ledger/balance", headers=ground.person(PAYER))
    assert operator.status_code == 403


async def test_bad_input_is_told_and_not_echoed(town: Town) -> None:
    order_id = await town.order()
    path = f"/v1/payments/{order_id}/attempts"
    person = {**town.ground.person(PAYER), **key()}
    for body in ({"channel": "barter-secret"}, {}, {"channel": "wechat_native", "amount_fen": 1}):
        answer = await town.service.client.post(path, json=body, headers=person)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
        assert "barter-secret" not in answer.text
    keyless = await town.service.client.post(
        path, json={"channel": "wechat_native"}, headers=town.ground.person(PAYER)
    )
    assert (keyless.status_code, keyless.json()["code"]) == (400, "idempotency_key_missing")
    nothing = await town.service.client.get("/v1/payments/pay_%00", headers=person)
    assert nothing.status_code in (404, 422)


async def test_pages_and_etags(town: Town) -> None:
    person, client = town.ground.person(PAYER), town.service.client
    wanted = {await town.order() for _ in range(3)}
    seen: list[str] = []
    link: str | None = "/v1/payments?limit=2"
    while link:
        page = (await client.get(link, headers=person)).json()
        seen += [row["id"] for row in page["items"]]
        link = page["next"]
    assert len(seen) == len(set(seen))
    assert wanted <= set(seen)
    order_id = wanted.pop()
    first = await client.get(f"/v1/payments/{order_id}", headers=person)
    again = {**person, "if-none-match": first.headers["etag"]}
    assert (await client.get(f"/v1/payments/{order_id}", headers=again)).status_code == 304
    await town.start(order_id)
    assert (await client.get(f"/v1/payments/{order_id}", headers=again)).status_code == 200
