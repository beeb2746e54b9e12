"""The service is killed in the middle of a reconciliation, at each of its points; afterwards the
day stands as if nothing had happened."""

from collections import Counter
from datetime import timedelta

import asyncpg
import httpx
import pytest

from beam.figures.discrepancies import fill, make
from kit.testing import key, until

from .reconciliation_stage import TODAY
from .test_crashes import Fragile, fragile  # noqa: F401  a fixture is taken by name

pytestmark = pytest.mark.long
DAY = TODAY - timedelta(days=2)


async def test_killed_at_every_point_of_a_reconciliation(fragile: Fragile) -> None:
    made = make(DAY, lines=60, wrong=8)
    connection = await asyncpg.connect(fragile.database.replace("+asyncpg", ""))
    await fill(connection, made)
    await connection.close()
    await fragile.outside.sim("wechat/bills/seed", payments=made.payments, refunds=made.refunds)
    booked = "select count(*) from ledger_txn"
    (before,) = await fragile.column(booked)

    async def start() -> None:
        headers = {**fragile.ground.staff("operator", "DATA"), **key()}
        body = {"channel": "wechat", "day": DAY.isoformat()}
        url = f"http://127.0.0.1:{fragile.port}"
        async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
            try:
                await client.post("/v1/reconciliations", json=body, headers=headers)
            except httpx.TransportError:
                return

    day = f"'{DAY.isoformat()}'"
    await fragile.dies_at("b0", start)
    assert await fragile.column("select count(*) from bill_line") == [0], "all or nothing"
    await fragile.dies_at("b1", start)
    lines = f"select count(*) from bill_line where day = {day}"
    assert await fragile.column(lines) == [len([*made.told()])]
    await fragile.dies_at("b2", start)
    assert await fragile.column(booked) == [before], "neither repaired nor marked"
    await fragile.start()
    await start()
    outcomes = (
        "select d.type || ' ' || d.outcome from difference d join reconciliation r "
        f"on r.id = d.reconciliation_id where r.day = {day} and d.state = 'repaired' order by 1"
    )

    async def repaired() -> bool:
        return len(await fragile.column(outcomes)) == 2

    await until(repaired, seconds=60)
    assert await fragile.column(outcomes) == [
        "local_not_paid booked",
        "refund_local_not_done booked",
    ]
    assert await fragile.column(booked) == [before + 2]
    told = await fragile.column(
        "select body::jsonb -> 'data' ->> 'type' from outbox where body::jsonb ->> 'type' = "
        "'cn.beam.payment.reconciliation_difference.v1' "
        f"and body::jsonb -> 'data' ->> 'day' = {day}"
    )
    assert Counter(told) == Counter(made.wrong.values()), "each was told once"


async def test_the_service_does_it_all_by_itself(fragile: Fragile) -> None:
    """Days that nobody asked for: planned, fetched, compared, repaired and closed."""
    made = make(DAY, lines=60, wrong=0)
    connection = await asyncpg.connect(fragile.database.replace("+asyncpg", ""))
    await fill(connection, made)
    await connection.close()
    lost = made.payments[-1]
    again = {**lost, "transaction_id": f"43{lost['transaction_id'][2:]}"}
    await fragile.outside.sim(
        "wechat/bills/seed", payments=[*made.payments, again], refunds=made.refunds
    )
    await fragile.start()
    first, day = (f"'{DAY - timedelta(days=2)}'", f"'{DAY}'")
    ended = f"select state from reconciliation where day in ({first}, {day}) order by day"

    async def done() -> bool:
        # The second payment of one number stood in the bill alone; it was booked and goes back.
        return await fragile.column(ended) == ["matched", "closed"]

    await until(done, seconds=200)
