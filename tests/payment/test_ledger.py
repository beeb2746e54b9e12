"""The ledger: it balances and nobody edits it, whatever the code above does."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from kit import migrate
from kit.db import open_sessions
from kit.testing import Ground
from payment_svc import ledger

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TXN = "insert into ledger_txn (id, reference, kind, effective_at) values (:id, :id, 'test', now())"
LEG = (
    "insert into ledger_entry (txn_id, n, account, direction, amount_fen)"
    " values (:id, :n, 'suspense', :way, :fen)"
)


@pytest.fixture(scope="module")
async def books(ground: Ground) -> AsyncIterator[AsyncEngine]:
    """A database whose running role has only the rights that a migration gives it."""
    url = await ground.database("payment_svc")
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("create role books_runtime"))
    await asyncio.to_thread(migrate.upgrade, "payment_svc", url, "books_runtime")
    yield engine
    async with engine.begin() as connection:
        await connection.execute(text("drop owned by books_runtime"))
        await connection.execute(text("drop role books_runtime"))
    await engine.dispose()


async def book(engine: AsyncEngine, reference: str, amount_fen: int = 100) -> str:
    async with open_sessions(engine).begin() as session:
        return await ledger.transfer(
            session,
            reference=reference,
            kind="test",
            debit="clearing:wechat",
            credit="suspense",
            amount_fen=amount_fen,
            effective_at=NOW,
        )


async def run(engine: AsyncEngine, *steps: tuple[str, dict[str, Any]]) -> None:
    """All in one transaction, committed."""
    async with engine.begin() as connection:
        for statement, values in steps:
            await connection.execute(text(statement), values)


@pytest.mark.parametrize("table", ["ledger_txn", "ledger_entry", "channel_notice"])
@pytest.mark.parametrize("act", ["update {} set {} = {}", "delete from {}", "truncate {} cascade"])
async def test_the_running_role_cannot_change_what_is_written(
    books: AsyncEngine, table: str, act: str
) -> None:
    column = {"ledger_txn": "kind", "ledger_entry": "account", "channel_notice": "outcome"}[table]
    change = act.format(table, column, column)
    with pytest.raises(DBAPIError, match="permission denied"):
        await run(books, ("set local role books_runtime", {}), (change, {}))


async def test_the_running_role_can_book(books: AsyncEngine) -> None:
    async with open_sessions(books).begin() as session:
        await session.execute(text("set local role books_runtime"))
        await ledger.transfer(
            session,
            reference="by the running role",
            kind="test",
            debit="clearing:wechat",
            credit="suspense",
            amount_fen=1,
            effective_at=NOW,
        )


@pytest.mark.parametrize(
    "legs",
    [
        [],
        [("debit", 100)],
        [("debit", 100), ("credit", 99)],
        [("debit", 100), ("debit", 100)],
        [("debit", 100), ("credit", 60), ("credit", 41)],
    ],
)
async def test_what_does_not_balance_is_not_committed(
    books: AsyncEngine, legs: list[tuple[str, int]]
) -> None:
    steps: list[tuple[str, dict[str, Any]]] = [(TXN, {"id": "lame"})]
    for n, (way, fen) in enumerate(legs, 1):
        steps.append((LEG, {"id": "lame", "n": n, "way": way, "fen": fen}))
    with pytest.raises(IntegrityError, match="does not balance"):
        await run(books, *steps)


async def test_no_legs_join_a_finished_booking(books: AsyncEngine) -> None:
    done = await book(books, "finished")
    legs = [
        (LEG, {"id": done, "n": n, "way": way, "fen": 5})
        for n, way in ((3, "debit"), (4, "credit"))
    ]
    with pytest.raises(IntegrityError, match="only where it is made"):
        await run(books, *legs)


async def test_a_reference_is_booked_once(books: AsyncEngine) -> None:
    await book(books, "once")
    with pytest.raises(IntegrityError):
        await book(books, "once")


@pytest.mark.parametrize("amount", [0, -1])
async def test_amounts_are_positive(books: AsyncEngine, amount: int) -> None:
    with pytest.raises(IntegrityError, match="ledger_entry_amount_check"):
        await book(books, f"amount {amount}", amount)


async def test_all_accounts_sum_to_nothing(books: AsyncEngine) -> None:
    await book(books, "sum", 12345)
    async with open_sessions(books)() as session:
        accounts = await ledger.balances(session)
    assert sum(account.balance_fen for account in accounts) == 0
    assert {account.account for account in accounts} == {"clearing:wechat", "suspense"}
