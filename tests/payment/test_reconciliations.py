"""The bill of a day against the books: every kind of difference is found under its name, what the
channel can prove is repaired the usual way, and the same again changes nothing."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from beam.figures.discrepancies import Day, bill_of, make
from kit.ids import new_id
from kit.testing import Ground
from payment_svc import reconciliations
from payment_svc.channels import BadBill
from payment_svc.channels.bills import BillKind
from payment_svc.reconciliations import Taken

from .conftest import Town, open_town
from .reconciliation_stage import (
    TODAY,
    books,
    open_ones,
    play,
    reconcile,
    reviewed,
    rows,
    run_of,
    true_bills,
)


@pytest.fixture(scope="module")
async def town(
    ground: Ground, nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """No job runs by itself: each step is taken by the test."""
    async with open_town(ground, nats_url, tmp_path_factory) as opened:
        await opened.runtime.jobs.stop()
        yield opened


@pytest.fixture(autouse=True)
async def nothing_falsified(town: Town) -> AsyncIterator[None]:
    yield
    await true_bills(town.outside)


@pytest.fixture(scope="module")
def days() -> Iterator[date]:
    """Every test has days of its own, and those before and after it."""
    return (TODAY - timedelta(days=n) for n in itertools.count(3, 6))


async def clearing(town: Town) -> int:
    return (await town.balance()).get("clearing:wechat", 0)


async def test_every_type_is_found_and_what_the_channel_proves_is_repaired(
    town: Town, days: Iterator[date]
) -> None:
    day = next(days)
    made = make(day, lines=240, wrong=32)
    assert set(Counter(made.wrong.values()).values()) == {4}, "each as often as the others"
    await play(town, made)
    taken = await reconciliations.take(town.runtime, "wechat", made.bill)
    assert taken == Taken(len([*made.told()]), 32)
    found = {row["subject"]: row["type"] for row in await rows(town, day)}
    assert found == made.wrong
    before = await clearing(town)
    run = await reviewed(town, day)
    provable = {"local_not_paid", "refund_local_not_done"}
    assert await open_ones(town, day) == {s: t for s, t in made.wrong.items() if t not in provable}
    ended = [row for row in await rows(town, day) if row["state"] == "repaired"]
    assert {(row["type"], row["outcome"]) for row in ended} == {(t, "booked") for t in provable}
    moved = sum(row["gap_fen"] for row in ended)
    assert await clearing(town) == before + moved, "the usual way books it"
    assert run["state"] == "differs"
    still = sum(row["gap_fen"] for row in await rows(town, day) if row["state"] == "open")
    assert run["moved_fen"] - run["booked_fen"] == still
    findings = {row["type"]: row["finding"] for row in await rows(town, day)}
    assert findings == {
        "amount_mismatch": "other_amount",
        "local_not_paid": None,
        "missing_local": "unknown_number",
        "missing_remote": "channel_denies",
        "refund_amount_mismatch": "other_amount",
        "refund_local_not_done": None,
        "refund_missing_local": "unknown_number",
        "refund_missing_remote": "channel_denies",
    }
    await _same_again(town, made)
    await _told_once(town, made)


async def _same_again(town: Town, made: Day) -> None:
    was = await rows(town, made.day), await run_of(town, made.day)
    assert await reconciliations.take(town.runtime, "wechat", made.bill) == Taken(0, 0)
    again = await rows(town, made.day), await run_of(town, made.day)
    assert was[0] == again[0]
    apart = {"next_at", "started_at", "review_at"}
    assert all(was[1][name] == again[1][name] for name in {*was[1].keys()} - apart)


async def _told_once(town: Town, made: Day) -> None:
    told = await town.column(
        "select body::jsonb -> 'data' from outbox "
        "where body::jsonb ->> 'type' = 'cn.beam.payment.reconciliation_difference.v1'"
    )
    mine = Counter(event["type"] for event in told if event["day"] == made.day.isoformat())
    assert mine == Counter(made.wrong.values())


async def test_two_processes_take_the_same_bill_at_once(town: Town, days: Iterator[date]) -> None:
    made = make(next(days), lines=80, wrong=8)
    await play(town, made)
    taken = await asyncio.gather(
        *(reconciliations.take(town.runtime, "wechat", made.bill) for _ in range(3))
    )
    lines = len([*made.told()])
    assert sorted(taken, key=lambda t: t.lines) == [Taken(0, 0), Taken(0, 0), Taken(lines, 8)]
    await _told_once(town, made)


async def test_a_day_without_differences_is_matched_through_the_real_channel(
    town: Town, days: Iterator[date]
) -> None:
    day = next(days)
    made = make(day, lines=60, wrong=0)
    await play(town, made)
    run = await reconcile(town, day)
    assert (run["state"], run["problem"], run["tries"]) == ("matched", None, 0)
    assert run["moved_fen"] == run["booked_fen"] == made.bill.trade_fen - made.bill.refund_fen
    assert (run["trade_count"], run["refund_count"]) == (54, 6)
    digest = run["digest"]
    assert (await reconcile(town, day))["digest"] == digest
    closed = await town.column(
        "select count(*) from outbox where body::jsonb ->> 'subject' = :id", id=run["id"]
    )
    assert closed == [1], "told once that it is done"


async def test_a_corrected_bill_ends_what_it_corrects_and_opens_what_is_new(town: Town) -> None:
    day = TODAY - timedelta(days=5)
    made = make(day, lines=40, wrong=0)
    await play(town, made)
    first, second = [line for line in made.lines if line.kind is BillKind.TRADE][:2]
    await town.outside.sim("wechat/bills/drop", day=day.isoformat(), number=first.transaction_id)
    run = await reconcile(town, day)
    (row,) = await rows(town, day)
    assert (row["subject"], row["type"]) == (first.subject, "missing_remote")
    assert row["finding"] == "bill_lacks_it", "the channel itself confirms our books"
    assert run["state"] == "differs"
    assert run["next_at"] is not None, "it is fetched again: the channel may correct it"
    await true_bills(town.outside)
    await town.outside.sim(
        "wechat/bills/alter",
        day=day.isoformat(), number=second.transaction_id, amount=(second.there or 0) + 5,
    )  # fmt: skip
    await reconcile(town, day)
    by_subject = {row["subject"]: row for row in await rows(town, day)}
    corrected, new = by_subject[first.subject], by_subject[second.subject]
    assert (corrected["state"], corrected["outcome"]) == ("repaired", "bill_corrected")
    assert (new["type"], new["state"], new["gap_fen"]) == ("amount_mismatch", "open", 5)
    await true_bills(town.outside)
    run = await reconcile(town, day)
    assert run["state"] == "closed"
    assert run["moved_fen"] == run["booked_fen"]
    assert {row["outcome"] for row in await rows(town, day)} == {"bill_corrected"}


async def test_a_lost_payment_is_found_by_the_bill(town: Town) -> None:
    """The payer paid, no notice came, and the sweeper is not at it."""
    order_id = await town.order()
    attempt = await town.start(order_id)
    await town.outside.sim("wechat/notices", drop=True, count=20)
    await town.pay(attempt)
    await town.outside.sim("wechat/bills/days", day=TODAY.isoformat(), state="ready")
    assert (await town.get(order_id))["state"] == "pending"
    channel = town.runtime.parts["channels"]["wechat"]
    await reconciliations.take(town.runtime, "wechat", await channel.bill(TODAY))
    run = await reviewed(town, TODAY)
    paid = await town.get(order_id)
    assert (paid["state"], paid["paid_fen"]) == ("paid", 8000)
    assert run["state"] == "closed"
    assert (await town.types(order_id)).count("paid.v1") == 1


async def test_paid_twice_and_told_of_neither(town: Town, days: Iterator[date]) -> None:
    """A query tells of one payment, the bill of both: the second goes back to its payer."""
    day = next(days)
    made = make(day, lines=9, wrong=0)
    await play(town, made)
    lost = next(line for line in made.lines if line.kind is BillKind.TRADE)
    again = {
        "out_trade_no": lost.trade_no,
        "transaction_id": f"43{lost.transaction_id[2:]}",
        "total": lost.there,
        "paid_at": lost.at.timestamp() + 1,
    }
    await town.outside.sim("wechat/bills/seed", payments=[again], refunds=[])
    run = await reconcile(town, day)
    (row,) = await rows(town, day)
    assert (row["type"], row["state"], row["outcome"]) == ("local_not_paid", "repaired", "booked")
    accounts = await town.column(
        "select account from charge where transaction_id = :id", id=again["transaction_id"]
    )
    assert accounts == ["suspense"]
    assert run["state"] == "closed"


async def test_a_refund_of_midnight_is_no_difference(town: Town, days: Iterator[date]) -> None:
    """Accepted on one day, done on the next: it stands in the bill of the first."""
    day = next(days)
    made = make(day, lines=40, wrong=0, seed=5)
    await play(town, made)
    back = next(line for line in made.lines if line.kind is BillKind.REFUND)
    _, end = reconciliations.comparison.span(day)
    async with books(town) as connection:
        for table, column, which in (
            ("refund", "succeeded_at", "id = $2"),
            ("ledger_txn", "effective_at", "reference = 'refund:' || $2"),
        ):
            await connection.execute(
                f"update {table} set {column} = $1 where {which}",
                end + timedelta(seconds=20),
                back.refund_no,
            )
        await connection.execute(
            "update refund set created_at = $1 where id = $2",
            end - timedelta(seconds=2),
            back.refund_no,
        )
    after = day + timedelta(days=1)
    nothing = bill_of(after, [])
    await reconciliations.take(town.runtime, "wechat", nothing)
    assert await open_ones(town, after) == {}, "the bill that could name it was not read yet"
    assert (await run_of(town, after))["state"] == "matched"
    await reconciliations.take(town.runtime, "wechat", made.bill)
    assert (await run_of(town, day))["state"] == "matched"
    await reviewed(town, after)
    assert (await run_of(town, after))["state"] == "matched"
    lines = [line for line in made.told() if line.out_refund_no != back.refund_no]
    await reconciliations.take(town.runtime, "wechat", bill_of(day, lines))
    await reviewed(town, after)
    assert await open_ones(town, after) == {back.subject: "refund_missing_remote"}


async def test_a_payment_of_midnight_is_no_difference(town: Town, days: Iterator[date]) -> None:
    """Our books have it a second into the next day, the bill on the day before: whoever names it
    has it, and both days balance."""
    day = next(days)
    made = make(day, lines=30, wrong=0, seed=8)
    await play(town, made)
    late = next(line for line in made.lines if line.kind is BillKind.TRADE)
    _, end = reconciliations.comparison.span(day)
    async with books(town) as connection:
        charge = await connection.fetchval(
            "update charge set paid_at = $1 where transaction_id = $2 returning id",
            end + timedelta(seconds=1),
            late.transaction_id,
        )
        await connection.execute(
            "update ledger_txn set effective_at = $1 where reference = 'charge:' || $2",
            end + timedelta(seconds=1),
            charge,
        )
    after = day + timedelta(days=1)
    for bill in (made.bill, bill_of(after, [])):
        await reconciliations.take(town.runtime, "wechat", bill)
    for one, moved in ((day, made.bill.trade_fen - made.bill.refund_fen), (after, 0)):
        run = await run_of(town, one)
        assert (run["state"], run["moved_fen"], run["booked_fen"]) == ("matched", moved, moved)


async def test_a_refund_that_was_under_way_in_the_morning(town: Town, days: Iterator[date]) -> None:
    """The bill keeps the state of nine o'clock: PROCESSING is none, a failure is asked about."""
    day = next(days)
    made = make(day, lines=40, wrong=0, seed=6)
    await play(town, made)
    slow, mended = [line for line in made.lines if line.kind is BillKind.REFUND][:2]
    for line, state in ((slow, "PROCESSING"), (mended, "CHANGE")):
        await town.outside.sim(
            "wechat/bills/alter", day=day.isoformat(), number=line.refund_no, state=state
        )
    run = await reconcile(town, day)
    (row,) = await rows(town, day)
    assert (row["subject"], row["type"]) == (mended.subject, "refund_missing_remote")
    assert (row["state"], row["outcome"]) == ("repaired", "confirmed")
    assert run["state"] == "closed"
    assert (await reconcile(town, day))["state"] == "closed", "and stays so"


async def test_a_bill_that_is_not_there_yet_and_one_that_nobody_believes(
    town: Town, days: Iterator[date]
) -> None:
    day = next(days)
    told: dict[str, Any] = {"day": day.isoformat()}
    await town.outside.sim("wechat/bills/days", **told, state="creating")
    run = await reconcile(town, day)
    assert (run["state"], run["problem"], run["tries"]) == ("waiting", "not_ready", 1)
    assert run["digest"] is None
    assert run["next_at"] is not None
    await town.outside.sim("wechat/bills/add", **told, out_trade_no=new_id("x"), amount=1)
    await town.outside.sim("wechat/bills/days", **told, state="ready", spoil="hash")
    run = await reconcile(town, day)
    assert (run["state"], run["problem"], run["digest"]) == ("waiting", "wrong_hash", None)
    await town.outside.sim("wechat/faults", call="bill", kind="500", moment="before")
    run = await reconcile(town, day)
    assert (run["state"], run["problem"]) == ("waiting", "no_answer")
    await true_bills(town.outside)
    run = await reconcile(town, day)
    assert (run["state"], run["digest"], run["problem"]) == ("matched", "", None), "an empty bill"


async def test_a_number_that_stands_twice_in_a_bill(town: Town, days: Iterator[date]) -> None:
    made = make(next(days), lines=12, wrong=0)
    lines = [*made.told()]
    with pytest.raises(BadBill):
        await reconciliations.take(town.runtime, "wechat", bill_of(made.day, [*lines, lines[-1]]))
    assert await run_of(town, made.day) is None, "nothing of it is kept"


async def test_books_that_lost_a_fen_do_not_close(town: Town, days: Iterator[date]) -> None:
    """Charges and bill agree, the ledger does not: no difference, and yet no end."""
    day = next(days)
    made = make(day, lines=12, wrong=0)
    await play(town, made)
    async with books(town) as connection:
        await connection.execute(
            "update ledger_entry set amount_fen = amount_fen - 1 where txn_id = (select id from "
            "ledger_txn where effective_at >= $1 and effective_at < $2 limit 1)",
            *reconciliations.comparison.span(day),
        )
    run = await reconcile(town, day)
    assert await rows(town, day) == []
    assert abs(run["moved_fen"] - run["booked_fen"]) == 1
    assert run["state"] == "differs"


async def test_days_that_were_missed_are_made_up_for(town: Town) -> None:
    async with town.runtime.sessions.begin() as session:
        await session.execute(reconciliations.text("delete from difference"))
        await session.execute(reconciliations.text("delete from reconciliation"))
        await session.execute(
            reconciliations.text(
                "update charge set paid_at = now() - interval '9 days' where id = "
                "(select id from charge order by paid_at limit 1)"
            )
        )
        (oldest,) = await session.scalars(reconciliations.text("select min(paid_at) from charge"))
        await reconciliations.plan(session, "wechat")
    first = reconciliations.city_day(oldest)
    planned = await town.column("select day from reconciliation order by day")
    assert planned == [first + timedelta(days=n) for n in range((TODAY - first).days)]
    claimed = await reconciliations.claim_due(town.runtime, "wechat", limit=7)
    taken = await town.column(
        "select day from reconciliation where id = any(:ids) order by day", ids=list(claimed)
    )
    assert taken == planned[:7], "the oldest first, so many in one go"
    again = await reconciliations.claim_due(town.runtime, "wechat", limit=7)
    assert not {*claimed} & {*again}, "what is being worked on is taken by nobody else"
