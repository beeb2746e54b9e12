"""Daily reconciliation: the channel's bill of each day against the books, until both agree.

A day is a calendar day in Asia/Shanghai. Its bill is asked for from ten o'clock on the next one,
read in and compared in one transaction; then its differences are repaired one by one, and it is
compared again. Every step may be repeated: the same bill and the same books change nothing.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from kit import crash
from kit.clock import CITY, city_day, now
from kit.errors import NotFound, Problem
from kit.ids import derived_id
from kit.jobs import wake
from kit.runtime import Runtime
from kit.states import move

from . import channels, comparison, differences, repairs
from .channels import BadBill
from .channels.bills import Bill
from .comparison import Standing
from .models import Charge
from .models_reconciliation import (
    RECONCILIATION_TRANSITIONS,
    Difference,
    DifferenceState,
    Reconciliation,
    ReconciliationState,
)
from .outside import channel_of
from .settings import settings_of

log = logging.getLogger(__name__)
READY = time(10, 0)
"""When a channel has the bill of the day before; it keeps it for three months."""
OLDEST = timedelta(days=85)
NOT_READY = 1800
PAUSES = (60, 300, 900, 3600)
"""Seconds until a bill is asked for again that was not to be had, or not to be believed."""
ANEW = 24 * 3600
"""Seconds until the bill of a day that still differs is fetched again: it may be corrected."""
ANEW_DAYS = timedelta(days=7)
LEASE = 900
"""Seconds after which a day that a killed process had taken up is taken up again."""
AT_ONCE = 50
"""Differences of a day for which the channel is asked in one go; the others a minute later."""
REVIEW = 60


class NoBillYet(Problem):
    status, code, title = 422, "no_bill_yet", ("该日没有可取的账单", "No bill of that day")


@dataclass(frozen=True, slots=True)
class Taken:
    """What a bill brought: lines that were read in (0: the same file again), and differences that
    opened, changed or vanished."""

    lines: int
    changed: int


def due_at(day: date) -> datetime:
    """From when on the bill of a day can be had."""
    return datetime.combine(day + timedelta(days=1), READY, CITY)


def _run_id(channel: str, day: date) -> str:
    return derived_id("rec", channel, day.isoformat())


async def _run_of(session: AsyncSession, channel: str, day: date) -> Reconciliation:
    """The run of a day, locked; made if there is none."""
    await session.execute(
        insert(Reconciliation).values(_new_run(channel, day)).on_conflict_do_nothing()
    )
    return await _locked(session, _run_id(channel, day))


def _new_run(channel: str, day: date) -> dict[str, object]:
    return {
        "id": _run_id(channel, day),
        "channel": channel,
        "day": day,
        "state": ReconciliationState.WAITING,
        "version": 1,
        "next_at": due_at(day),
    }


async def plan(session: AsyncSession, channel: str, *, today: date | None = None) -> None:
    """Have a run for every day that is over, from the channel's first payment on."""
    first = await session.scalar(select(func.min(Charge.paid_at)).where(Charge.channel == channel))
    if first is None:
        return
    today = today or city_day(now())
    begin = max(city_day(first), today - OLDEST)
    known = set(
        await session.scalars(
            select(Reconciliation.day).where(
                Reconciliation.channel == channel, Reconciliation.day >= begin
            )
        )
    )
    days = [begin + timedelta(days=n) for n in range((today - begin).days)]
    missing = [_new_run(channel, day) for day in days if day not in known]
    if missing:
        await session.execute(insert(Reconciliation).on_conflict_do_nothing(), missing)


async def ask(session: AsyncSession, channel: str, day: date) -> Reconciliation:
    """Have the bill of a day fetched now, for the first time or again; called again it is the
    same. Raises NoBillYet (422) for a day that is not over or longer ago than bills are kept."""
    today = city_day(now())
    if not today - OLDEST <= day < today:
        raise NoBillYet(
            "只能对已结束、且在三个月之内的日期对账。请换一个日期。",
            "Only days that are over and within the last three months have a bill. "
            "Choose another day.",
        )
    run = await _run_of(session, channel, day)
    run.next_at, run.tries = now(), 0
    wake(session, "reconcile")
    return run


async def claim_due(runtime: Runtime, channel: str, *, limit: int) -> Sequence[str]:
    """Take days whose bill is due, oldest first; others see them again after LEASE."""
    return await _claim(runtime, channel, Reconciliation.next_at, limit)


async def claim_reviews(runtime: Runtime, channel: str, *, limit: int) -> Sequence[str]:
    """Take days whose differences are due; others see them again after LEASE."""
    return await _claim(runtime, channel, Reconciliation.review_at, limit)


async def _claim(
    runtime: Runtime, channel: str, due: InstrumentedAttribute[datetime | None], limit: int
) -> Sequence[str]:
    query = (
        select(Reconciliation)
        .where(Reconciliation.channel == channel, due <= func.now())
        .order_by(Reconciliation.day)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    async with runtime.sessions.begin() as session:
        runs = (await session.scalars(query)).all()
        for run in runs:
            setattr(run, due.key, now() + timedelta(seconds=LEASE))
        return [run.id for run in runs]


async def fetch(runtime: Runtime, run_id: str) -> None:
    """Fetch the bill of a day and take it. A bill that cannot be had is asked for again."""
    async with runtime.sessions() as session:
        run = await session.get_one(Reconciliation, run_id)
    channel = channel_of(runtime, run.channel)
    pause = PAUSES[min(run.tries, len(PAUSES) - 1)]
    try:
        try:
            bill = await channel.bill(run.day)
        except channels.NoBill:
            bill = Bill(run.day, "", (), 0, 0, 0, 0)
        await take(runtime, channel.name, bill)
        return
    except channels.BillNotReady:
        problem, pause = "not_ready", NOT_READY
    except BadBill as bad:
        log.error("the bill of %s for %s cannot be believed: %s", channel.name, run.day, bad)
        problem = bad.reason
    except channels.Refused as refused:
        log.error("the bill of %s for %s is refused: %s", channel.name, run.day, refused.code)
        problem = refused.code.lower()
    except channels.ChannelError as error:
        log.warning("no bill of %s for %s: %s", channel.name, run.day, type(error).__name__)
        problem = "no_answer"
    async with runtime.sessions.begin() as session:
        run = await _locked(session, run_id)
        run.problem, run.tries = problem, run.tries + 1
        run.next_at = _after(runtime, pause)


async def take(runtime: Runtime, channel: str, bill: Bill) -> Taken:
    """Read in a bill and compare it with the books, in one transaction. The same file again is
    not read in again; another one of the day takes the place of the first. Raises BadBill."""
    async with runtime.sessions.begin() as session:
        run = await _run_of(session, channel, bill.day)
        lines, began = 0, now()
        if run.digest != bill.digest:
            lines = await comparison.load(session, channel, bill)
            if lines != bill.trade_count + bill.refund_count:
                raise BadBill("wrong_count")
            late = run.digest is None
            run.digest, run.loaded_at = bill.digest, now()
            run.trade_count, run.trade_fen = bill.trade_count, bill.trade_fen
            run.refund_count, run.refund_fen = bill.refund_count, bill.refund_fen
            if late:
                await _review_later_days(session, run)
        run.started_at, run.problem, run.tries = began, None, 0
        changed = await _compare(session, run)
        run.review_at = await _review_at(session, run)
        differs = run.state == ReconciliationState.DIFFERS
        recent = run.day >= city_day(now()) - ANEW_DAYS
        run.next_at = _after(runtime, ANEW) if differs and recent else None
        crash.point("b0")
    crash.point("b1")
    return Taken(lines, changed)


async def _review_later_days(session: AsyncSession, run: Reconciliation) -> None:
    """Days after this one whose bills were read before it: a refund may have been missed there
    that stands in this one, or waited for it."""
    await session.execute(
        text(
            "update reconciliation set review_at = now() "
            "where channel = :channel and day > :day and digest is not null"
        ),
        {"channel": run.channel, "day": run.day},
    )


async def review(runtime: Runtime, run_id: str) -> None:
    """Ask the channel about open differences of a day that are due, then compare anew and close
    the day if it balances."""
    async with runtime.sessions() as session:
        ids = await differences.due(session, run_id, limit=AT_ONCE)
    for id_ in ids:
        await repairs.repair(runtime, id_)
    async with runtime.sessions.begin() as session:
        run = await _locked(session, run_id)
        if run.digest is not None:
            await _compare(session, run)
        soonest = await _review_at(session, run)
        if soonest is not None and soonest <= now():
            soonest = _after(runtime, REVIEW)
        run.review_at = soonest


async def _compare(session: AsyncSession, run: Reconciliation) -> int:
    """Compare a day (locked) with the books and move its state; gives how many differences
    changed."""
    assert run.digest is not None
    await session.flush()
    found = await comparison.compare(session, run.id, run.channel, run.day, run.digest)
    await differences.tell(session, run, found.told)
    stands = await comparison.standing(session, run.id, run.channel, run.day)
    run.moved_fen, run.booked_fen = stands.moved, stands.booked
    run.settled_fen = stands.settled
    _judge(session, run, stands)
    return found.changed


def _judge(session: AsyncSession, run: Reconciliation, stands: Standing) -> None:
    ended = run.state in (ReconciliationState.MATCHED, ReconciliationState.CLOSED)
    if stands.fits and not ended:
        run.finished_at = now()
        move(
            session,
            run,
            RECONCILIATION_TRANSITIONS,
            "match" if run.state == ReconciliationState.WAITING else "close",
            reconciliation_id=run.id,
            channel=run.channel,
            day=run.day,
            moved_fen=stands.moved,
            booked_fen=stands.booked,
            settled_fen=stands.settled,
        )
    elif not stands.fits:
        if stands.open == 0:
            log.error("%s of %s does not balance, and nothing tells why", run.day, run.channel)
        if run.state != ReconciliationState.DIFFERS:
            run.finished_at = None
            move(session, run, RECONCILIATION_TRANSITIONS, "differ")


async def _review_at(session: AsyncSession, run: Reconciliation) -> datetime | None:
    """When the channel is to be asked next about one of the day's differences."""
    soonest: datetime | None = await session.scalar(
        select(func.min(Difference.next_at)).where(
            Difference.reconciliation_id == run.id,
            Difference.state == DifferenceState.OPEN,
            Difference.next_at.is_not(None),
        )
    )
    if soonest is not None:
        wake(session, "review_reconciliations")
    return soonest


def _after(runtime: Runtime, seconds: float) -> datetime:
    return now() + timedelta(seconds=seconds * settings_of(runtime).payment_tempo)


async def _locked(session: AsyncSession, run_id: str) -> Reconciliation:
    return await session.get_one(
        Reconciliation, run_id, with_for_update=True, populate_existing=True
    )


async def read(session: AsyncSession, run_id: str) -> Reconciliation:
    """Raises NotFound (404)."""
    run = await session.get(Reconciliation, run_id)
    if run is None:
        raise NotFound("没有这次对账。请从对账列表重新进入。", "There is no such reconciliation.")
    return run


async def find(
    session: AsyncSession,
    *,
    state: ReconciliationState | None,
    channel: str | None,
    after: tuple[date, str] | None,
    limit: int,
) -> Sequence[Reconciliation]:
    """Runs, newest day first, those after the position `after`."""
    key = tuple_(Reconciliation.day, Reconciliation.id)
    query = select(Reconciliation)
    if state is not None:
        query = query.where(Reconciliation.state == state)
    if channel is not None:
        query = query.where(Reconciliation.channel == channel)
    if after is not None:
        query = query.where(key < tuple_(*after))
    ordered = query.order_by(Reconciliation.day.desc(), Reconciliation.id.desc())
    return (await session.scalars(ordered.limit(limit))).all()
