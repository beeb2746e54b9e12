"""The double-entry ledger: bookings are made and read, never changed.

Accounts: `clearing:<channel>` (what a channel holds for us), `payable:<dept>:<item>` (what we owe
the authority), `suspense` (money that pays nothing and goes back). All amounts in fen, CNY.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.ids import derived_id

from .models import LedgerEntry, LedgerTxn

SUSPENSE = "suspense"


def clearing(channel: str) -> str:
    return f"clearing:{channel}"


def payable(dept: str, item: str) -> str:
    return f"payable:{dept}:{item}"


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """`balance_fen` = debits − credits."""

    account: str
    debit_fen: int
    credit_fen: int

    @property
    def balance_fen(self) -> int:
        return self.debit_fen - self.credit_fen


async def transfer(
    session: AsyncSession,
    *,
    reference: str,
    kind: str,
    debit: str,
    credit: str,
    amount_fen: int,
    effective_at: datetime,
    reverses: str | None = None,
) -> str:
    """Book `amount_fen` > 0 from the account `credit` to the account `debit`; gives the booking's
    id. A reference is booked once: a second time breaks the transaction (IntegrityError)."""
    txn_id = derived_id("txn", reference)
    await session.execute(
        insert(LedgerTxn).values(
            id=txn_id,
            reference=reference,
            kind=kind,
            reverses=reverses,
            effective_at=effective_at,
        )
    )
    legs = ((1, debit, "debit"), (2, credit, "credit"))
    await session.execute(
        insert(LedgerEntry),
        [
            {
                "txn_id": txn_id,
                "n": n,
                "account": account,
                "direction": way,
                "amount_fen": amount_fen,
            }
            for n, account, way in legs
        ],
    )
    return txn_id


async def balances(session: AsyncSession) -> Sequence[AccountBalance]:
    """Every account that was ever booked to, by name."""
    amount = LedgerEntry.amount_fen
    debits = func.sum(case((LedgerEntry.direction == "debit", amount), else_=0))
    credits_ = func.sum(case((LedgerEntry.direction == "credit", amount), else_=0))
    rows = await session.execute(
        select(LedgerEntry.account, debits, credits_)
        .group_by(LedgerEntry.account)
        .order_by(LedgerEntry.account)
    )
    return [AccountBalance(account, int(debit), int(credit)) for account, debit, credit in rows]


async def check(session: AsyncSession) -> dict[str, Any]:
    """Whether the books balance: every debit has its credit. What lies in suspense is told too."""
    found = await balances(session)
    total = sum(account.balance_fen for account in found)
    suspense = sum(account.balance_fen for account in found if account.account == SUSPENSE)
    return {
        "ok": total == 0,
        "total_fen": total,
        "suspense_fen": suspense,
        "accounts": len(found),
    }
