"""Refunds: never more than was paid, asked for until they are there, booked once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from kit import crash
from kit.ids import new_id
from kit.testing import Ground, until
from payment_svc import refunds
from payment_svc.models import PaymentOrder
from payment_svc.refunds import RefundTooLarge

from .conftest import PAYER, Town, open_town


@pytest.fixture(scope="module")
async def town(
    ground: Ground, nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """Refunds stay PROCESSING until a test lets them end."""
    async with open_town(ground, nats_url, tmp_path_factory, refund_seconds=3600) as opened:
        yield opened


async def paid(town: Town, amount_fen: int = 8000) -> tuple[str, str]:
    """(case, order) of a paid fee."""
    case_id = new_id("case")
    await town.fee_due(case_id, amount_fen)
    order_id = (await until(lambda: town.of_case(case_id)))[0]["id"]
    await town.pay(await town.start(order_id))
    await town.reaches(order_id, "paid")
    return case_id, order_id


async def at_channel(town: Town, order_id: str, count: int = 1) -> list[dict[str, Any]]:
    async def there() -> list[dict[str, Any]] | None:
        town.runtime.wake("work_refunds")
        found = (await town.book(order_id))["refunds"]
        return found if len(found) == count else None

    asked: list[dict[str, Any]] = await until(there, seconds=30)
    return asked


async def state_of(town: Town, refund_id: str, state: str) -> None:
    async def there() -> list[str]:
        town.runtime.wake("work_refunds")
        query = "select id from refund where id = :id and state = :state"
        return await town.column(query, id=refund_id, state=state)

    await until(there, seconds=30)


async def end(town: Town, refund: dict[str, Any], outcome: str) -> None:
    number = refund["out_refund_no"]
    await town.outside.sim("wechat/refunds", out_refund_no=number, outcome=outcome)


@pytest.mark.parametrize(
    ("call", "kind", "moment"),
    [
        ("refund", "timeout", "after"),
        ("refund", "500", "before"),
        ("refund", "429", "before"),
        ("query_refund", "500", "before"),
    ],
)
async def test_trouble_on_the_way_never_pays_twice(
    town: Town, call: str, kind: str, moment: str
) -> None:
    case_id, order_id = await paid(town)
    await town.outside.sim("wechat/faults", call=call, kind=kind, moment=moment)
    await town.withdraw(case_id)
    [refund] = await at_channel(town, order_id)
    await end(town, refund, "SUCCESS")
    done = await town.reaches(order_id, "refunded")
    assert [r["amount_fen"] for r in done["refunds"]] == [8000]
    assert len((await town.book(order_id))["refunds"]) == 1
    assert await town.types(order_id) == ["created.v1", "paid.v1", "refunded.v1"]


async def test_tries_that_our_own_trouble_ended_do_not_make_the_pauses_longer(town: Town) -> None:
    case_id, order_id = await paid(town)
    # Without this column each try fails before the channel is asked.
    async with town.runtime.sessions.begin() as session:
        await session.execute(text("alter table attempt rename column trade_no to trade_no_away"))

    claims: set[object] = set()

    async def claimed_again_and_again() -> bool:
        town.runtime.wake("work_refunds")
        query = "select next_try_at from refund where order_id = :id"
        claims.update(await town.column(query, id=order_id))
        return len(claims) > 3

    try:
        await town.withdraw(case_id)
        await until(claimed_again_and_again, seconds=60)
        tries = await town.column("select tries from refund where order_id = :id", id=order_id)
        assert tries == [0]
    finally:
        async with town.runtime.sessions.begin() as session:
            back = "alter table attempt rename column trade_no_away to trade_no"
            await session.execute(text(back))
    [refund] = await at_channel(town, order_id)
    await end(town, refund, "SUCCESS")
    await town.reaches(order_id, "refunded")


async def test_a_lost_refund_notice_is_found_by_a_query(town: Town) -> None:
    case_id, order_id = await paid(town)
    await town.outside.sim("wechat/notices", drop=True)
    await town.withdraw(case_id)
    [refund] = await at_channel(town, order_id)
    await end(town, refund, "SUCCESS")
    await town.reaches(order_id, "refunded")


async def test_the_end_of_a_case_told_twice_refunds_once(town: Town) -> None:
    case_id, order_id = await paid(town)
    await town.withdraw(case_id)
    await town.decide(case_id, "rejected", version=7)
    [refund] = await at_channel(town, order_id)
    await end(town, refund, "SUCCESS")
    done = await town.reaches(order_id, "refunded")
    assert len(done["refunds"]) == 1


async def test_a_closed_refund_is_asked_for_under_a_new_number(town: Town) -> None:
    case_id, order_id = await paid(town)
    await town.withdraw(case_id)
    [first] = await at_channel(town, order_id)
    await end(town, first, "CLOSED")
    [_, second] = await at_channel(town, order_id, 2)
    await end(town, second, "SUCCESS")
    done = await town.reaches(order_id, "refunded")
    assert [r["state"] for r in done["refunds"]] == ["error", "succeeded"]
    assert done["refunded_fen"] == 8000


async def test_an_abnormal_refund_waits_for_a_person_and_may_still_succeed(town: Town) -> None:
    case_id, order_id = await paid(town)
    await town.withdraw(case_id)
    [refund] = await at_channel(town, order_id)
    await end(town, refund, "ABNORMAL")
    await state_of(town, refund["out_refund_no"], "error")
    assert (await town.get(order_id))["state"] == "paid"
    operator, citizen = town.ground.staff("operator", "DATA"), town.ground.person(PAYER)
    listed = await town.service.client.get("/v1/refunds?state=error&limit=100", headers=operator)
    found = {row["id"]: row["error_code"] for row in listed.json()["items"]}
    assert found[refund["out_refund_no"]] == "ABNORMAL"
    page = (await town.service.client.get("/v1/refunds?limit=1", headers=operator)).json()
    after = (await town.service.client.get(page["next"], headers=operator)).json()
    assert page["items"][0]["id"] < after["items"][0]["id"]
    refused = await town.service.client.get("/v1/refunds", headers=citizen)
    assert refused.status_code == 403
    await end(town, refund, "SUCCESS")
    done = await town.reaches(order_id, "refunded")
    assert len(done["refunds"]) == 1


async def test_refunds_together_never_exceed_what_was_paid(town: Town) -> None:
    _, order_id = await paid(town)
    [charge_id] = await town.column("select id from charge where order_id = :id", id=order_id)

    async def give_back() -> bool:
        async with town.runtime.sessions.begin() as session:
            await session.get_one(PaymentOrder, order_id, with_for_update=True)
            await refunds.start(session, charge_id, amount_fen=3000, reason="withdrawn")
        return True

    ends = await asyncio.gather(*(give_back() for _ in range(6)), return_exceptions=True)
    assert sum(end is True for end in ends) == 2
    assert all(isinstance(end, RefundTooLarge) for end in ends if end is not True)
    for refund in await at_channel(town, order_id, 2):
        await end(town, refund, "SUCCESS")
    done = await town.reaches(order_id, "partially_refunded")
    await town.refunded(order_id)
    assert (await town.get(order_id))["refunded_fen"] == 6000
    assert done["paid_fen"] == 8000


@pytest.fixture
def no_refund_limit() -> Iterator[None]:
    crash.arm("", "no_refund_limit")
    yield
    crash.arm("", "")


@pytest.mark.usefixtures("no_refund_limit")
async def test_the_constraint_holds_where_the_code_would_not(town: Town) -> None:
    _, order_id = await paid(town)
    [charge_id] = await town.column("select id from charge where order_id = :id", id=order_id)
    async with town.runtime.sessions() as session:
        with pytest.raises(IntegrityError, match="charge_returned_check"):
            await refunds.start(session, charge_id, amount_fen=8001, reason="withdrawn")
