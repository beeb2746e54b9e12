"""Whatever stands in the books and in the bill: what the database finds is what a simple model in
Python finds, and the sums are those of the differences."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam.figures.discrepancies import Day, Line, bill_of, fill
from kit.testing import Ground
from payment_svc import comparison, reconciliations
from payment_svc.channels.bills import BillKind, BillLine

from .conftest import Town, open_town
from .reconciliation_stage import TODAY, books, rows, run_of

STATES = ("SUCCESS", "PROCESSING", "FAIL", "CHANGE")


@pytest.fixture(scope="module")
async def town(
    ground: Ground, nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    async with open_town(ground, nats_url, tmp_path_factory) as opened:
        await opened.runtime.jobs.stop()
        yield opened


@dataclass(frozen=True)
class Fact:
    """One payment or refund: what either side has of it. Fen; None: nothing at all."""

    refund: bool
    here: int | None
    booked: bool
    there: int | None
    state: str

    def type(self) -> str | None:
        """What it is by the rules, said one by one."""
        if not self.refund:
            if self.there is None:
                return "missing_remote" if self.here is not None and self.booked else None
            if self.here is None:
                return "missing_local"
            if not self.booked:
                return "local_not_paid"
            return "amount_mismatch" if self.here != self.there else None
        if self.there is None:
            return "refund_missing_remote" if self.here is not None and self.booked else None
        if self.here is None:
            return "refund_missing_local"
        if self.here != self.there:
            return "refund_amount_mismatch"
        if self.state == "SUCCESS":
            return None if self.booked else "refund_local_not_done"
        return "refund_missing_remote" if self.booked and self.state != "PROCESSING" else None

    def gap(self) -> int:
        """How much more the channel's account moved than ours."""
        ours = self.here if self.here is not None and self.booked else 0
        theirs = self.there or 0
        if self.refund:
            agreed = self.booked and self.type() is None
            theirs = ours if agreed else theirs if self.state == "SUCCESS" else 0
            return ours - theirs
        return theirs - ours


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    """Mostly both sides have the same amount, so that the other rules come into play."""
    here, there = draw(
        st.sampled_from([(2, 2), (2, 2), (2, 2), (2, 1), (1, 2), (2, None), (None, 2)])
    )
    return Fact(
        draw(st.booleans()), here, draw(st.booleans()), there, draw(st.sampled_from(STATES))
    )


_day = [TODAY - timedelta(days=4)]


def lay(day: date, chosen: list[Fact]) -> tuple[Day, list[BillLine], dict[str, str]]:
    """Books, lines of the bill and what is wrong, for some facts on a day."""
    begin, _ = comparison.span(day)
    lines, before, told, wrong = [], [], [], {}
    for n, fact in enumerate(chosen):
        at = begin + timedelta(hours=1, seconds=n)
        kind = BillKind.REFUND if fact.refund else BillKind.TRADE
        line = Line(n, kind, at, fact.there, fact.here, fact.booked)
        paid = line
        if fact.refund:
            paid = Line(n, BillKind.TRADE, begin - timedelta(days=1), 3, 3)
            before.append(paid)
        lines.append(line)
        if fact.there is not None:
            told.append(_told(line, paid, fact, at))
        if (kind_of := fact.type()) is not None:
            wrong[line.subject] = kind_of
    return Day(day, tuple(lines), tuple(before), wrong), told, wrong


def _told(line: Line, paid: Line, fact: Fact, at: datetime) -> BillLine:
    return BillLine(
        kind=line.kind,
        out_trade_no=paid.trade_no,
        transaction_id=paid.transaction_id,
        out_refund_no=line.refund_no if fact.refund else "",
        refund_id=line.refund_id if fact.refund else "",
        amount_fen=fact.there or 0,
        state=fact.state if fact.refund else "SUCCESS",
        at=at,
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(facts(), max_size=16), st.lists(st.integers(0, 15), max_size=3))
async def test_the_database_finds_what_the_model_finds(
    town: Town, chosen: list[Fact], dropped: list[int]
) -> None:
    _day[0] -= timedelta(days=2)  # each example has a day of its own
    day = _day[0]
    made, told, wrong = lay(day, chosen)
    async with books(town) as connection:
        await fill(connection, made)
    first = bill_of(day, told, digest=f"{day} first")
    await reconciliations.take(town.runtime, "wechat", first)
    found = {row["subject"]: row for row in await rows(town, day)}
    assert {subject: row["type"] for subject, row in found.items()} == wrong
    gaps = {fact_of.subject: fact.gap() for fact_of, fact in zip(made.lines, chosen, strict=True)}
    assert {s: row["gap_fen"] for s, row in found.items()} == {s: gaps[s] for s in wrong}
    run = await run_of(town, day)
    assert run["moved_fen"] - run["booked_fen"] == sum(gaps.values())
    assert (run["state"] == "matched") == (not wrong)
    assert (await reconciliations.take(town.runtime, "wechat", first)).changed == 0
    # Another file of the day, without some of the lines: as if it had been the first.
    less = [line for n, line in enumerate(told) if n not in dropped]
    kept = {(line.out_trade_no, line.out_refund_no) for line in less}
    changed = [
        fact
        if fact.there is None or (_numbers(line, made) in kept)
        else Fact(fact.refund, fact.here, fact.booked, None, fact.state)
        for line, fact in zip(made.lines, chosen, strict=True)
    ]
    _, _, wrong = lay(day, changed)
    await reconciliations.take(town.runtime, "wechat", bill_of(day, less, digest=f"{day} second"))
    still = {row["subject"]: row["type"] for row in await rows(town, day) if row["state"] == "open"}
    assert still == wrong
    run = await run_of(town, day)
    assert run["moved_fen"] - run["booked_fen"] == sum(fact.gap() for fact in changed)


def _numbers(line: Line, made: Day) -> tuple[str, str]:
    if line.kind is BillKind.TRADE:
        return line.trade_no, ""
    paid = next(paid for paid in made.paid_before if paid.n == line.n)
    return paid.trade_no, line.refund_no
