"""The channel's bill of a busy day against our books, with differences put between them: how long
the comparison takes, whether each is found under its own type, and that doing it again changes
nothing."""

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from kit.clock import city_day, now

from ..demo import started
from ..figures import discrepancies
from ..journey.stage import Stage
from ..journey.steps import LOGINS, OPERATOR
from .checks import Violation
from .killer import family
from .recovery import cpu_seconds
from .trial import Trial, trial

LINES = 100_000
WRONG = 50
AT_ONCE = 10_000
"""Rows that the sandbox is given in one request."""
AGO = timedelta(days=2)
WAIT_SECONDS = 600.0
_EVERYTHING = """
    select (select json_agg(to_jsonb(d) - array['next_at', 'tries'] order by d.id)::text
            from difference d where reconciliation_id = $1) as differences,
           (select to_jsonb(r) - array['started_at', 'next_at', 'review_at', 'tries']
            from reconciliation r where r.id = $1)::text as run,
           (select md5(string_agg(l::text, '' order by transaction_id, refund_id))
            from bill_line l) as lines,
           (select count(*) from outbox where subject not like '%audit_sealed%') as events,
           (select count(*) from ledger_txn) as bookings
"""


class Day:
    """The day as payment-svc's database has it."""

    def __init__(self, db: asyncpg.Connection, day: date) -> None:
        self._db, self._day = db, day

    async def run(self) -> Mapping[str, Any]:
        """The row of the reconciliation; empty before there is one."""
        found = await self._db.fetchrow(
            "select * from reconciliation where channel = $1 and day = $2",
            discrepancies.CHANNEL,
            self._day,
        )
        return dict(found) if found else {}

    async def after(self, moment: datetime | None) -> Mapping[str, Any]:
        """The row, once a bill was taken later than `moment`."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            row = await self.run()
            begun = row.get("started_at")
            if begun is not None and (moment is None or begun > moment):
                return row
            await asyncio.sleep(0.1)
        raise TimeoutError(f"no reconciliation within {WAIT_SECONDS:.0f} s")

    async def types(self) -> dict[str, str]:
        """Subject → type of every difference, in whatever state."""
        rows = await self._db.fetch(
            "select d.subject, d.type from difference d join reconciliation r"
            " on r.id = d.reconciliation_id where r.channel = $1 and r.day = $2",
            discrepancies.CHANNEL,
            self._day,
        )
        return {row["subject"]: row["type"] for row in rows}

    async def asked(self) -> None:
        """Wait until the days before were read, from which the payments are that the day's refunds
        give back, the channel was asked about every difference that it can tell of, and the day
        stands as its answers leave it."""
        query = """
            select (select count(*) from reconciliation where day < $1 and started_at is null)
                 + (select count(*) from reconciliation r where review_at is distinct from (
                        -- Else a review is due, or under way.
                        select min(next_at) from difference d
                        where d.reconciliation_id = r.id and d.state = 'open'))
                 + (select count(*) from difference
                    where state = 'open' and next_at is not null and tries = 0)
        """
        end = time.monotonic() + WAIT_SECONDS
        while await self._db.fetchval(query, self._day):
            if time.monotonic() > end:
                raise TimeoutError(f"not asked within {WAIT_SECONDS:.0f} s")
            await asyncio.sleep(0.2)
        run_id, before = (await self.run())["id"], None
        while (here := await self.everything(run_id)) != before and time.monotonic() < end:
            before = here
            await asyncio.sleep(3)

    async def everything(self, run_id: str) -> Mapping[str, Any]:
        return dict(await self._db.fetchrow(_EVERYTHING, run_id))


async def fill(the: Trial, made: discrepancies.Day) -> None:
    """Both books, the channel's first; its bill is held back until ours is written, too."""
    sandbox = the.crowd.place.sandbox
    async with httpx.AsyncClient(base_url=sandbox, timeout=120, trust_env=False) as client:

        async def tell(path: str, **body: Any) -> None:
            (await client.post(f"/_sim/wechat/bills/{path}", json=body)).raise_for_status()

        await tell("days", day=made.day.isoformat(), state="creating")
        for kind, rows in (("payments", made.payments), ("refunds", made.refunds)):
            for start in range(0, len(rows), AT_ONCE):
                await tell("seed", **{kind: rows[start : start + AT_ONCE]})
        db = await asyncpg.connect(the.database("payment"), timeout=5)
        try:
            await discrepancies.fill(db, made)
        finally:
            await db.close()
        await tell("days", day=made.day.isoformat(), state="ready")


async def compared(the: Trial, *, lines: int) -> None:
    """Fill the day, reconcile it, look at what was found, reconcile it again."""
    day = city_day(now()) - AGO
    made = discrepancies.make(day, lines=lines, wrong=WRONG)
    wanted = dict(made.wrong)
    await fill(the, made)
    stage, db = Stage(the.crowd.place), await asyncpg.connect(the.database("payment"), timeout=5)
    try:
        operator, seen = await stage.door(OPERATOR, LOGINS[OPERATOR]), Day(db, day)

        async def again(after: datetime | None) -> tuple[Mapping[str, Any], float]:
            began = time.monotonic()
            asked = {"channel": discrepancies.CHANNEL, "day": day.isoformat()}
            await operator.call("POST", "/v1/reconciliations", body=asked, status=201)
            return await seen.after(after), time.monotonic() - began

        used = _cpu_seconds(the)
        run, seconds = await again((await seen.run()).get("started_at"))
        spent = _cpu_seconds(the) - used
        found = await seen.types()
        await seen.asked()
        before = await seen.everything(run["id"])
        second, repeat_seconds = await again((await seen.run())["started_at"])
        after = await seen.everything(run["id"])
    finally:
        await db.close()
        await stage.close()
    changed = [name for name in before if before[name] != after[name]]
    moved = _moved(before["run"], after["run"])
    missed = {s: t for s, t in wanted.items() if found.get(s) != t}
    invented = {s: t for s, t in found.items() if s not in wanted}
    for what in (*missed.items(), *invented.items(), *(f"{name} by repeating" for name in changed)):
        the.violations.append(Violation("reconciliation", str(what), True))
    the.notes |= {
        "lines": second["trade_count"] + second["refund_count"],
        "planted": len(wanted),
        "found": len(wanted) - len(missed),
        "missed": missed,
        "invented": invented,
        "compared_after": round(seconds, 1),
        "repeated_after": round(repeat_seconds, 1),
        "changed_by_repeating": changed,
        "moved_by_repeating": moved,
        "cpu_seconds": round(spent, 1),
        "unexplained_fen": second["moved_fen"] - second["booked_fen"],
    }


def _moved(before: str, after: str) -> dict[str, list[Any]]:
    """Columns of the reconciliation that a second run changed."""
    was, is_ = json.loads(before), json.loads(after)
    return {name: [was[name], is_[name]] for name in was if was[name] != is_[name]}


def _cpu_seconds(the: Trial) -> float:
    """Of the whole platform so far: what a busy machine lengthens least."""
    return sum(map(cpu_seconds, family(the.data)))


def run(place: Path, *, lines: int, seed: int) -> dict[str, Any]:
    """A platform of its own with a busy day behind it."""

    async def play() -> dict[str, Any]:
        async with trial(place / "data", seed=seed, patience=120) as the:
            await compared(the, lines=lines)
            return the.as_json()

    with started(place / "data"):
        return asyncio.run(play())
