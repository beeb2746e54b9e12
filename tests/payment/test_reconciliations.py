"""The bill of a day against the books: every kind of difference is found under its name, what the
channel can prove is repaired the usual way, and the same again changes nothing."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from beam.figures import discrepancies
from kit.clock import city_day, now
from kit.testing import Ground
from payment_svc import reconciliations
from payment_svc.reconciliations import Taken

from .conftest import Town, open_town

DAY = city_day(now()) - timedelta(days=2)


@pytest.fixture(scope="module")
async def town(
    ground: Ground, nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    async with open_town(ground, nats_url, tmp_path_factory) as opened:
        yield opened


@contextlib.asynccontextmanager
async def books(town: Town) -> AsyncIterator[asyncpg.Connection]:
    url = town.runtime.settings.database_url.get_secret_value().replace("+asyncpg", "")
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def found(town: Town, day: object = DAY) -> dict[str, str]:
    async with books(town) as connection:
        rows = await connection.fetch(
            "select subject, type from difference d join reconciliation r "
            "on r.id = d.reconciliation_id where r.day = $1 and d.state = 'open'",
            day,
        )
    return {row["subject"]: row["type"] for row in rows}


async def test_every_type_is_found_and_named(town: Town) -> None:
    made = discrepancies.make(DAY, lines=400, wrong=32)
    assert len(set(Counter(made.wrong.values()).values())) == 1, "each as often as the others"
    async with books(town) as connection:
        await discrepancies.fill(connection, made)
    taken = await reconciliations.take(town.runtime, "wechat", made.bill)
    assert await found(town) == made.wrong
    assert taken == Taken(len(made.bill.lines), 32)
    assert await reconciliations.take(town.runtime, "wechat", made.bill) == Taken(0, 0)
