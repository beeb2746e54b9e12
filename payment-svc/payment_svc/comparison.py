"""The bill of a day against the books, all at once in the database: which lines and bookings do not
agree, and by how much the channel's account and ours moved.

What belongs together is told by numbers, never by times: a refund stands in the bill of the day on
which the channel accepted it and may take place later, so a booking belongs to the day whose bill
names it, and to the day of its own time when none does.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from kit.clock import CITY

from .channels import BadBill
from .channels.bills import Bill

LONG_SECONDS = 300
"""For one statement over a whole day, which takes longer than a request may."""
BATCH = 2000
MOST_TOLD = 1000
"""Differences of one comparison that are told one by one."""
_COLUMNS = (
    "channel", "day", "kind", "transaction_id", "refund_id", "out_trade_no", "out_refund_no",
    "amount_fen", "state", "at",
)  # fmt: skip

# The lines were just read in, so the planner knows nothing of them and would join them by nested
# loops without an index. What is looked up one by one is therefore written as a subquery with a
# limit, which it leaves as it is; what is not, as a full join, which is never made by such loops.
# $1 channel, $2 day, $3 and $4 when it begins and ends, $5 the run, $6 its digest.
_MERGE = """
with found as materialized (
    select 'trade:' || l.transaction_id as subject,
           case when c.id is not null then 'amount_mismatch'
                when a.id is not null then 'local_not_paid' else 'missing_local' end as type,
           l.out_trade_no as trade_no, l.transaction_id,
           coalesce(c.order_id, a.order_id) as order_id,
           coalesce(c.attempt_id, a.id) as attempt_id, c.id as charge_id,
           null::text as refund_id, l.amount_fen as bill_fen, c.amount_fen as books_fen,
           l.amount_fen - coalesce(c.amount_fen, 0) as gap_fen, l.state as bill_state
    from bill_line l
    left join charge c on c.channel = l.channel and c.transaction_id = l.transaction_id
    left join attempt a on a.channel = l.channel and a.trade_no = l.out_trade_no
    where l.channel = $1 and l.day = $2 and l.kind = 'trade'
      and (c.id is null or c.amount_fen <> l.amount_fen or a.id is distinct from c.attempt_id)
    union all
    select 'trade:' || c.transaction_id, 'missing_remote', a.trade_no, c.transaction_id,
           c.order_id, c.attempt_id, c.id, null, null, c.amount_fen, -c.amount_fen, null
    from charge c join attempt a on a.id = c.attempt_id
    where c.channel = $1 and c.paid_at >= $3 and c.paid_at < $4
      and (select l.day from bill_line l where l.channel = c.channel and l.kind = 'trade'
              and l.transaction_id = c.transaction_id limit 1) is null
    union all
    select 'refund:' || l.out_refund_no,
           case when c.id is null then 'refund_missing_local'
                when r.amount_fen <> l.amount_fen then 'refund_amount_mismatch'
                when l.state = 'SUCCESS' then 'refund_local_not_done'
                else 'refund_missing_remote' end,
           l.out_trade_no, l.transaction_id, c.order_id, c.attempt_id, c.id, l.out_refund_no,
           l.amount_fen, case when c.id is not null then r.amount_fen end,
           case when c.id is not null and r.state = 'succeeded' then r.amount_fen else 0 end
               - case when l.state = 'SUCCESS' then l.amount_fen else 0 end,
           l.state
    from bill_line l
    left join refund r on r.id = l.out_refund_no
    left join charge c on c.id = r.charge_id and c.channel = l.channel
    where l.channel = $1 and l.day = $2 and l.kind = 'refund'
      and (c.id is null or r.amount_fen <> l.amount_fen
           or (l.state = 'SUCCESS' and r.state <> 'succeeded')
           or (l.state not in ('SUCCESS', 'PROCESSING') and r.state = 'succeeded'))
    union all
    -- Only where every bill that could name it was read.
    select 'refund:' || r.id, 'refund_missing_remote', a.trade_no, c.transaction_id, c.order_id,
           c.attempt_id, c.id, r.id, null, r.amount_fen, r.amount_fen, null
    from refund r
    join charge c on c.id = r.charge_id and c.channel = $1
    join attempt a on a.id = c.attempt_id
    where r.state = 'succeeded' and r.succeeded_at >= $3 and r.succeeded_at < $4
      and (select l.day from bill_line l where l.channel = $1 and l.kind = 'refund'
              and l.out_refund_no = r.id limit 1) is null
      and not exists (
          select from generate_series(
              (least(r.created_at, r.succeeded_at) at time zone 'Asia/Shanghai')::date,
              $2::date - 1, interval '1 day') as needed (day)
          left join reconciliation n on n.channel = $1 and n.day = needed.day::date
          where n.digest is null)
),
pairs as materialized (
    select f.*, coalesce(d.id, 'dif_' || md5($5::text || '|' || f.subject || '|' || f.type)) as id,
           d.state as was, d.version as stood,
           d.id is null or d.state <> 'open' or (d.bill_fen, d.books_fen, d.bill_state)
               is distinct from (f.bill_fen, f.books_fen, f.bill_state) as news,
           d.id is null
           or (d.bill_fen, d.books_fen, d.gap_fen, d.bill_state)
               is distinct from (f.bill_fen, f.books_fen, f.gap_fen, f.bill_state)
           or (d.state = 'open' and d.digest <> $6)
           or (d.state = 'repaired' and d.outcome <> 'confirmed') as changed
    from found f
    full join (select * from difference where reconciliation_id = $5) d
        on d.subject = f.subject and d.type = f.type
),
put as (
    insert into difference as d (
        id, reconciliation_id, type, subject, state, version, trade_no, transaction_id, order_id,
        attempt_id, charge_id, refund_id, bill_fen, books_fen, gap_fen, bill_state, digest,
        finding, next_at)
    select id, $5, type, subject, 'open', coalesce(stood, 0) + news::int, trade_no,
           transaction_id, order_id, attempt_id, charge_id, refund_id, bill_fen,
           books_fen, gap_fen, bill_state, $6,
           case when type in ('missing_local', 'refund_missing_local') then 'unknown_number'
                when type in ('amount_mismatch', 'refund_amount_mismatch') then
                    case when bill_fen = books_fen then 'other_number' else 'other_amount' end end,
           case when type in ('local_not_paid', 'missing_remote', 'refund_local_not_done',
                              'refund_missing_remote') then now() end
    from pairs where subject is not null and changed
    on conflict (reconciliation_id, subject, type) do update set
        state = 'open', version = excluded.version,
        found_at = case when d.state = 'open' then d.found_at else now() end,
        trade_no = excluded.trade_no, transaction_id = excluded.transaction_id,
        order_id = excluded.order_id, attempt_id = excluded.attempt_id,
        charge_id = excluded.charge_id, bill_fen = excluded.bill_fen,
        books_fen = excluded.books_fen, gap_fen = excluded.gap_fen,
        bill_state = excluded.bill_state, digest = excluded.digest, finding = excluded.finding,
        next_at = excluded.next_at, tries = 0,
        outcome = null, ended_by = null, ended_at = null
    returning d.id
),
gone as (
    update difference d set
        state = 'repaired', version = d.version + 1, ended_at = now(), next_at = null,
        outcome = case when d.digest = $6 then 'books_corrected' else 'bill_corrected' end
    from pairs p
    where p.subject is null and p.was <> 'repaired' and d.id = p.id
    returning d.id
)
select (select count(*) from put) + (select count(*) from gone) as changed,
       array(select id from pairs where subject is not null and changed and news
             order by id limit $7) as told
"""
# A line of a refund that is not done yet moves money once it is done here, by the channel's later
# word, unless just that is doubted.
_MOVED = """
select coalesce(sum(l.amount_fen) filter (where l.kind = 'trade'), 0)::bigint as trades,
       coalesce(-sum(l.amount_fen) filter (where l.kind = 'refund' and (l.state = 'SUCCESS' or (
           r.state = 'succeeded' and (
               select d.id from difference d where d.reconciliation_id = $3
                  and d.subject = 'refund:' || l.out_refund_no and d.state <> 'repaired'
               limit 1) is null))),
           0)::bigint as refunds
from bill_line l
left join refund r on l.kind = 'refund' and r.id = l.out_refund_no
where l.channel = $1 and l.day = $2
"""
# A booking of this day that another day's bill names belongs there. A refund that no bill names
# counts once it was found to be missing: before that its bill may not have been read.
_BOOKED = """
with entries as (
    select t.reference, substr(t.reference, 8) as id,
           case e.direction when 'debit' then e.amount_fen else -e.amount_fen end as fen
    from ledger_txn t join ledger_entry e on e.txn_id = t.id and e.account = 'clearing:' || $1
    where t.effective_at >= $3 and t.effective_at < $4
),
payments as (
    select e.fen from entries e
    left join charge c on e.reference like 'charge:%' and c.id = e.id
    where e.reference not like 'refund:%' and coalesce(
        (select bool_or(l.day = $2) from bill_line l where l.channel = $1 and l.kind = 'trade'
            and l.transaction_id = c.transaction_id), true)
    union all
    select case e.direction when 'debit' then e.amount_fen else -e.amount_fen end
    from bill_line l
    join charge c on c.channel = l.channel and c.transaction_id = l.transaction_id
    join ledger_txn t on t.reference = 'charge:' || c.id
         and not (t.effective_at >= $3 and t.effective_at < $4)
    join ledger_entry e on e.txn_id = t.id and e.account = 'clearing:' || $1
    where l.channel = $1 and l.day = $2 and l.kind = 'trade'
),
refunds as (
    select e.fen from entries e
    where e.reference like 'refund:%' and (
        select d.id from difference d where d.reconciliation_id = $5
           and d.subject = 'refund:' || e.id and d.bill_state is null and d.state <> 'repaired'
        limit 1) is not null
    union all
    select case e.direction when 'debit' then e.amount_fen else -e.amount_fen end
    from bill_line l
    join ledger_txn t on t.reference = 'refund:' || l.out_refund_no
    join ledger_entry e on e.txn_id = t.id and e.account = 'clearing:' || $1
    where l.channel = $1 and l.day = $2 and l.kind = 'refund'
)
select (select coalesce(sum(fen), 0)::bigint from payments) as trades,
       (select coalesce(sum(fen), 0)::bigint from refunds) as refunds
"""
_OPEN = """
select count(*) filter (where state = 'open') as open,
       coalesce(sum(gap_fen) filter (where state = 'settled' and subject like 'trade:%'), 0)::bigint
           as trades,
       coalesce(sum(gap_fen) filter (where state = 'settled' and subject like 'refund:%'),
           0)::bigint as refunds
from difference where reconciliation_id = $1
"""


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison brought: rows of differences that changed, and which of them to tell."""

    changed: int
    told: Sequence[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a day stands, in fen: what the channel's account and our clearing account moved, and how
    much of the gap persons have settled. `fits` when nothing is open and both legs, payments and
    refunds, balance apart from what is settled."""

    moved: int
    booked: int
    settled: int
    open: int
    fits: bool


def span(day: date) -> tuple[datetime, datetime]:
    """When a calendar day of the city begins and ends, UTC."""
    begin = datetime.combine(day, time.min, CITY)
    return begin.astimezone(UTC), (begin + timedelta(days=1)).astimezone(UTC)


async def load(session: AsyncSession, channel: str, bill: Bill) -> int:
    """Put the lines of a bill in the place of what was there of its day; gives how many. Raises
    BadBill when a number stands in it twice."""
    driver = await _driver(session)
    await driver.execute(
        "delete from bill_line where channel = $1 and day = $2",
        channel, bill.day, timeout=LONG_SECONDS,
    )  # fmt: skip
    try:
        told = await driver.copy_records_to_table(
            "bill_line", columns=_COLUMNS, records=_records(channel, bill), timeout=LONG_SECONDS
        )
    except asyncpg.UniqueViolationError:
        raise BadBill("line_twice") from None
    return int(told.rpartition(" ")[2])


async def _records(channel: str, bill: Bill) -> AsyncIterator[tuple[Any, ...]]:
    """The lines as rows, in batches: a hundred thousand of them are never in memory together."""
    lines = iter(bill.lines)
    while some := await asyncio.to_thread(lambda: list(itertools.islice(lines, BATCH))):
        for line in some:
            yield (
                channel, bill.day, str(line.kind), line.transaction_id, line.refund_id,
                line.out_trade_no, line.out_refund_no, line.amount_fen, line.state, line.at,
            )  # fmt: skip


async def compare(
    session: AsyncSession, run_id: str, channel: str, day: date, digest: str
) -> Compared:
    """Bring the differences of a day up to date with its bill and the books: new ones open, those
    that vanished are repaired, and what a person or the channel ended stays so while nothing of it
    changed. Compared again, nothing changes."""
    driver = await _driver(session)
    row = await driver.fetchrow(
        _MERGE, channel, day, *span(day), run_id, digest, MOST_TOLD, timeout=LONG_SECONDS
    )
    return Compared(row["changed"], row["told"])


async def standing(session: AsyncSession, run_id: str, channel: str, day: date) -> Standing:
    """How the day stands after a comparison."""
    driver = await _driver(session)
    moved = await driver.fetchrow(_MOVED, channel, day, run_id, timeout=LONG_SECONDS)
    booked = await driver.fetchrow(_BOOKED, channel, day, *span(day), run_id, timeout=LONG_SECONDS)
    still = await driver.fetchrow(_OPEN, run_id, timeout=LONG_SECONDS)
    legs = ("trades", "refunds")
    return Standing(
        moved=sum(moved[leg] for leg in legs),
        booked=sum(booked[leg] for leg in legs),
        settled=sum(still[leg] for leg in legs),
        open=still["open"],
        fits=still["open"] == 0 and all(moved[leg] - booked[leg] == still[leg] for leg in legs),
    )


async def _driver(session: AsyncSession) -> asyncpg.Connection:
    """asyncpg's own connection, within the session's transaction: it copies rows in, and waits for
    a statement longer than ten seconds."""
    connection = await session.connection()
    await connection.exec_driver_sql("select 1")  # SQLAlchemy begins at the first statement
    raw = await connection.get_raw_connection()
    return raw.driver_connection
