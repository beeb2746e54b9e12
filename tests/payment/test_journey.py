"""A fee from its notice to the money in the books, and all the ways back."""

from pathlib import Path

import payment_svc
from contracts.case import CaseFeeDue, CaseWithdrawn
from kit.ids import new_id
from kit.states import as_table
from kit.testing import until
from payment_svc.models import ORDER_TRANSITIONS

from .conftest import PAYER, Town


async def test_fee_is_paid_and_booked(town: Town) -> None:
    before = (await town.balance()).get("payable:SAMR:A05", 0)
    order_id = await town.order(8000)
    created = await town.get(order_id)
    assert (created["state"], created["attempt"], created["refunds"]) == ("created", None, [])
    attempt = await town.start(order_id)
    assert attempt["state"] == "submitted"
    assert attempt["code_url"].startswith("weixin://")
    assert (await town.get(order_id))["state"] == "pending"
    await town.pay(attempt)
    paid = await town.reaches(order_id, "paid")
    assert (paid["paid_fen"], paid["attempt"]["state"]) == (8000, "paid")
    assert paid["attempt"]["code_url"] is None
    events = await town.events(order_id)
    assert [e["type"] for e in events] == ["cn.beam.payment.created.v1", "cn.beam.payment.paid.v1"]
    assert {(e["region"], e["dept"]) for e in events} == {("310115", "SAMR")}
    versions = [e["aggregateversion"] for e in events]
    assert versions == sorted(set(versions))
    assert events[1]["data"]["amount_fen"] == 8000
    assert events[1]["data"]["channel"] == "wechat"
    assert (await town.balance())["payable:SAMR:A05"] == before - 8000


async def test_rejection_after_payment_gives_the_money_back(town: Town) -> None:
    case_id = new_id("case")
    before = await town.balance()
    await town.fee_due(case_id, 5000)
    order_id = (await until(lambda: town.of_case(case_id)))[0]["id"]
    await town.pay(await town.start(order_id))
    await town.reaches(order_id, "paid")
    await town.decide(case_id, "rejected")
    done = await town.reaches(order_id, "refunded")
    assert done["refunded_fen"] == 5000
    assert [(r["state"], r["reason"]) for r in done["refunds"]] == [("succeeded", "rejected")]
    assert await town.types(order_id) == ["created.v1", "paid.v1", "refunded.v1"]
    after = await town.balance()
    for account in ("clearing:wechat", "payable:SAMR:A05"):
        assert after.get(account, 0) == before.get(account, 0)
    assert [row["state"] for row in (await town.book(order_id))["refunds"]] == ["SUCCESS"]


async def test_approval_changes_nothing(town: Town) -> None:
    case_id = new_id("case")
    await town.fee_due(case_id)
    order_id = (await until(lambda: town.of_case(case_id)))[0]["id"]
    await town.decide(case_id, "approved")
    await town.withdraw(other := new_id("case"))

    async def later_one_was_heard() -> list[str]:
        return await town.column("select case_id from case_end where case_id = :id", id=other)

    await until(later_one_was_heard)
    assert (await town.get(order_id))["state"] == "created"


async def test_withdrawal_cancels_and_closes_the_code_at_the_channel(town: Town) -> None:
    case_id = new_id("case")
    await town.fee_due(case_id)
    order_id = (await until(lambda: town.of_case(case_id)))[0]["id"]
    await town.start(order_id)
    await town.withdraw(case_id)
    await town.reaches(order_id, "cancelled")
    await town.attempt_reaches(order_id, "closed")
    assert [row["state"] for row in (await town.book(order_id))["orders"]] == ["CLOSED"]
    assert await town.types(order_id) == ["created.v1", "cancelled.v1"]
    assert (await town.start(order_id, status=409))["code"] == "not_payable"


async def test_money_on_a_cancelled_order_goes_back(town: Town) -> None:
    case_id = new_id("case")
    await town.fee_due(case_id, 6100)
    order_id = (await until(lambda: town.of_case(case_id)))[0]["id"]
    attempt = await town.start(order_id)
    # The channel cannot be reached while the case ends: its code stays payable for a moment.
    await town.outside.sim("wechat/faults", call="query", kind="500", times=10_000)
    await town.withdraw(case_id)
    await town.reaches(order_id, "cancelled")
    await town.pay(attempt)
    refunds = await town.refunded(order_id)
    assert [(r["amount_fen"], r["reason"]) for r in refunds] == [(6100, "late")]
    assert (await town.get(order_id))["state"] == "cancelled"
    assert await town.types(order_id) == ["created.v1", "cancelled.v1", "refunded.v1"]
    assert (await town.balance()).get("suspense", 0) == 0


async def test_paid_twice_pays_once_and_gives_one_back(town: Town) -> None:
    order_id = await town.order(409)
    await town.pay(await town.start(order_id))
    await town.reaches(order_id, "paid")
    refunds = await town.refunded(order_id)
    assert [(r["amount_fen"], r["reason"]) for r in refunds] == [(409, "twice")]
    book = await town.book(order_id)
    assert len(book["payments"]) == 2
    kept = {p["transaction_id"] for p in book["payments"]} - {
        r["transaction_id"] for r in book["refunds"]
    }
    assert len(kept) == 1
    assert (await town.get(order_id))["state"] == "paid"


async def test_fee_told_twice_makes_one_order(town: Town) -> None:
    case_id = new_id("case")
    await town.fee_due(case_id)
    await town.fee_due(case_id, version=7)
    other = await town.order()
    assert other
    assert len(await town.of_case(case_id)) == 1


async def test_the_same_events_again_run_no_handler_twice(town: Town) -> None:
    case_id = new_id("case")
    fee = CaseFeeDue(
        case_id=case_id,
        applicant_id=PAYER,
        item_code="A05",
        item_name="食品经营许可",
        fee_code="FEE-A05",
        amount_fen=8000,
    )
    place = {"region": "310115", "dept": "SAMR"}
    assert await town.service.hear(fee, times=3, subject=case_id, version=5, **place) == 1
    gone = CaseWithdrawn(case_id=case_id, applicant_id=PAYER)
    assert await town.service.hear(gone, times=3, subject=case_id, version=6, **place) == 1
    [order] = await town.of_case(case_id)
    assert order["state"] == "cancelled"
    assert await town.types(order["id"]) == ["created.v1", "cancelled.v1"]


def test_readme_shows_the_states_as_they_are() -> None:
    readme = Path(payment_svc.__file__ or "").parents[1] / "README.md"
    assert as_table(ORDER_TRANSITIONS) in readme.read_text("utf-8")


async def test_fee_told_after_the_end_of_its_case_makes_no_order(town: Town) -> None:
    case_id = new_id("case")
    await town.withdraw(case_id, version=6)

    async def ended() -> list[str]:
        return await town.column("select reason from case_end where case_id = :id", id=case_id)

    await until(ended)
    await town.fee_due(case_id, version=5)
    await town.order()
    assert await town.of_case(case_id) == []


async def test_a_lost_notice_is_found_by_a_query(town: Town) -> None:
    await town.outside.sim("wechat/notices", drop=True)
    order_id = await town.order()
    await town.pay(await town.start(order_id))
    await town.reaches(order_id, "paid")
    assert [row["state"] for row in (await town.book(order_id))["notices"]] == ["dropped"]


async def test_payer_is_the_applicant(town: Town) -> None:
    order_id = await town.order()
    payer = await town.column("select payer_id from payment_order where id = :id", id=order_id)
    assert payer == [PAYER]
