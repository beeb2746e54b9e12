"""The channel's bill of a busy day against our books, with differences put between them: how long
the comparison takes, whether each is found under its own type, and that doing it again changes
nothing."""

import asyncio
import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from sandbox.wechat.bills import BEIJING

from ..demo import started
from ..journey.stage import Stage
from ..journey.steps import LOGINS, OPERATOR
from . import busy_day
from .busy_day import Sold
from .checks import Violation
from .trial import Trial, trial

LINES = 100_000
AGO = timedelta(days=2)
WAIT_SECONDS = 600.0
PLANTED = {
    "amount_mismatch": 7,
    "local_not_paid": 7,
    "missing_local": 6,
    "missing_remote": 6,
    "refund_amount_mismatch": 6,
    "refund_local_not_done": 6,
    "refund_missing_local": 6,
    "refund_missing_remote": 6,
}
"""How many differences of each type there are."""
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
            busy_day.CHANNEL,
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
            busy_day.CHANNEL,
            self._day,
        )
        return {row["subject"]: row["type"] for row in rows}

    async def asked(self) -> None:
        """Wait until the channel was asked about every difference that it can tell of, and the
        day stands as its answers leave it."""
        query = (
            "select count(*) from difference"
            " where state = 'open' and next_at is not null and tries = 0"
        )
        end = time.monotonic() + WAIT_SECONDS
        while await self._db.fetchval(query):
            if time.monotonic() > end:
                raise TimeoutError(f"not asked within {WAIT_SECONDS:.0f} s")
            await asyncio.sleep(0.2)
        run_id, before = (await self.run())["id"], None
        while (now := await self.everything(run_id)) != before and time.monotonic() < end:
            before = now
            await asyncio.sleep(3)

    async def everything(self, run_id: str) -> Mapping[str, Any]:
        return dict(await self._db.fetchrow(_EVERYTHING, run_id))


def planned(all_: list[Sold]) -> dict[str, list[Sold]]:
    """Which payments each type of difference is made with: none of them twice."""
    plain = [one for one in all_ if not one.refunded]
    refunded = [one for one in all_ if one.refunded]
    found: dict[str, list[Sold]] = {}
    for n, (type_, count) in enumerate(PLANTED.items()):
        some = refunded if type_.startswith("refund_") else plain
        step = len(some) // (count * len(PLANTED))
        found[type_] = [some[(i * len(PLANTED) + n) * step] for i in range(count)]
    return found


async def plant(the: Trial, all_: list[Sold], day: date) -> dict[str, str]:
    """Fill both books and put the differences between them; subject → type of each."""
    wrong, sandbox = planned(all_), the.crowd.place.sandbox
    subjects: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=sandbox, timeout=60, trust_env=False) as client:

        async def edit(act: str, **told: Any) -> Mapping[str, Any]:
            path, body = f"/_sim/wechat/bills/{act}", {"day": day.isoformat(), **told}
            answer = (await client.post(path, json=body)).raise_for_status()
            found: Mapping[str, Any] = answer.json() if answer.content else {}
            return found

        await edit("days", state="creating")
        await busy_day.theirs(sandbox, all_)
        for type_, some in wrong.items():
            for one in some:
                subject = f"trade:{one.transaction_id}"
                if type_.startswith("refund_"):
                    subject = f"refund:{one.refund_id}"
                match type_:
                    case "amount_mismatch":
                        await edit("alter", number=one.transaction_id, amount=one.fen + 1)
                    case "refund_amount_mismatch":
                        await edit("alter", number=one.refund_id, amount=busy_day.REFUND_FEN + 1)
                    case "missing_remote":
                        await edit("drop", number=one.transaction_id)
                    case "refund_missing_remote":
                        await edit("drop", number=one.refund_id)
                    case "missing_local":
                        told = await edit("add", out_trade_no=f"foreign{one.n}", amount=one.fen)
                        subject = f"trade:{told['transaction_id']}"
                    case "refund_missing_local":
                        number = f"foreign{one.n}"
                        await edit(
                            "add", out_trade_no=one.trade_no, out_refund_no=number, amount=1,
                            transaction_id=one.transaction_id,
                        )  # fmt: skip
                        subject = f"refund:{number}"
                subjects[subject] = type_
    await busy_day.ours(
        the.database("payment"),
        all_,
        unpaid={one.n for one in wrong["local_not_paid"]},
        undone={one.n for one in wrong["refund_local_not_done"]},
    )
    async with httpx.AsyncClient(base_url=sandbox, timeout=60, trust_env=False) as client:
        body = {"day": day.isoformat(), "state": "ready"}
        (await client.post("/_sim/wechat/bills/days", json=body)).raise_for_status()
    return subjects


async def compared(the: Trial, *, lines: int) -> None:
    """Fill the day, reconcile it, look at what was found, reconcile it again."""
    day = datetime.now(BEIJING).date() - AGO
    wanted = await plant(the, busy_day.sold(day, lines), day)
    stage, db = Stage(the.crowd.place), await asyncpg.connect(the.database("payment"), timeout=5)
    try:
        operator, seen = await stage.door(OPERATOR, LOGINS[OPERATOR]), Day(db, day)

        async def again(after: datetime | None) -> tuple[Mapping[str, Any], float]:
            began = time.monotonic()
            asked = {"channel": busy_day.CHANNEL, "day": day.isoformat()}
            await operator.call("POST", "/v1/reconciliations", body=asked, status=(201, 202))
            return await seen.after(after), time.monotonic() - began

        run, seconds = await again((await seen.run()).get("started_at"))
        found = await seen.types()
        await seen.asked()
        before = await seen.everything(run["id"])
        second, repeat_seconds = await again((await seen.run())["started_at"])
        after = await seen.everything(run["id"])
    finally:
        await db.close()
        await stage.close()
    changed = [name for name in before if before[name] != after[name]]
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
        "unexplained_fen": second["moved_fen"] - second["booked_fen"],
    }


def run(place: Path, *, lines: int, seed: int) -> dict[str, Any]:
    """A platform of its own with a busy day behind it."""

    async def play() -> dict[str, Any]:
        async with trial(place / "data", seed=seed, patience=120) as the:
            await compared(the, lines=lines)
            return the.as_json()

    with started(place / "data"):
        return asyncio.run(play())
