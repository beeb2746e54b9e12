"""A day of the channel and of our books, for the tests of its reconciliation."""

import contextlib
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import asyncpg
import httpx

from beam.figures.discrepancies import Day, fill
from kit.clock import city_day, now
from kit.testing import key
from payment_svc import differences, reconciliations
from sandbox.testing import Sandbox

from .conftest import Town

TODAY = city_day(now())
DAY = TODAY - timedelta(days=2)


@contextlib.asynccontextmanager
async def books(town: Town) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the service's database."""
    url = town.runtime.settings.database_url.get_secret_value().replace("+asyncpg", "")
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def play(town: Town, made: Day) -> None:
    """Our side into the books, the channel's into the sandbox."""
    async with books(town) as connection:
        await fill(connection, made)
    await town.outside.sim("wechat/bills/seed", payments=made.payments, refunds=made.refunds)


async def open_ones(town: Town, day: date = DAY) -> dict[str, str]:
    """Subject → type of what is open."""
    return {row["subject"]: row["type"] for row in await rows(town, day) if row["state"] == "open"}


async def rows(town: Town, day: date = DAY) -> list[asyncpg.Record]:
    async with books(town) as connection:
        found: list[asyncpg.Record] = await connection.fetch(
            "select d.* from difference d join reconciliation r on r.id = d.reconciliation_id "
            "where r.day = $1 order by d.id",
            day,
        )
    return found


async def run_of(town: Town, day: date = DAY) -> asyncpg.Record:
    async with books(town) as connection:
        return await connection.fetchrow("select * from reconciliation where day = $1", day)


async def reconcile(town: Town, day: date = DAY) -> asyncpg.Record:
    """Fetch the bill and work on what it brings until nothing is due; the run afterwards."""
    async with town.runtime.sessions.begin() as session:
        run = await reconciliations.ask(session, "wechat", day)
    await reconciliations.fetch(town.runtime, run.id)
    return await reviewed(town, day)


async def reviewed(town: Town, day: date = DAY) -> asyncpg.Record:
    """Ask the channel about what is open until nothing is due, and compare."""
    run = await run_of(town, day)
    due = True
    while due:
        await reconciliations.review(town.runtime, run["id"])
        async with town.runtime.sessions() as session:
            due = bool(await differences.due(session, run["id"], limit=1))
    return await run_of(town, day)


async def ask(
    town: Town, method: str, path: str, *, role: str = "operator", **options: Any
) -> httpx.Response:
    headers = {**town.ground.staff(role, "DATA", subject="acc_operator"), **key()}
    return await town.service.client.request(method, path, headers=headers, **options)


async def true_bills(outside: Sandbox) -> None:
    """Bills tell the truth again, by the clock."""
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as client:
        (await client.delete("/_sim/wechat/bills")).raise_for_status()
