"""A busy day of payments, in our books and in the channel's, with differences put between them.

Both sides are written quickly: ours by COPY into payment-svc's tables, as if call-backs had
booked them, the channel's by the sandbox's `bills/seed`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from kit.ids import derived_id
from sandbox.wechat.bills import moment_of

CHANNEL, DEPT, REGION = "wechat", "SAMR", "310115"
AT_ONCE = 10_000
REFUND_EVERY = 10
"""One payment in so many was given back in part."""
REFUND_FEN = 40


@dataclass(frozen=True)
class Sold:
    """One payment of the day, and its refund if it has one."""

    n: int
    day: date

    @property
    def trade_no(self) -> str:
        return f"busy{self.n:012d}"

    @property
    def transaction_id(self) -> str:
        return f"42{self.n:026d}"

    @property
    def refund_id(self) -> str:
        """Our number of the refund."""
        return derived_id("ref", self.trade_no)

    @property
    def theirs(self) -> str:
        """The channel's number of it."""
        return f"503{self.n:025d}"

    @property
    def fen(self) -> int:
        return 100 + self.n * 37 % 20_000

    @property
    def at(self) -> float:
        return moment_of(self.day) + self.n * 7 % 80_000

    @property
    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    @property
    def refunded(self) -> bool:
        return self.n % REFUND_EVERY == 0


def sold(day: date, lines: int) -> list[Sold]:
    """So many payments that they and their refunds are about `lines` lines of a bill."""
    return [Sold(n, day) for n in range(lines * REFUND_EVERY // (REFUND_EVERY + 1))]


async def theirs(sandbox: str, all_: Sequence[Sold]) -> None:
    """Into the channel's book."""
    async with httpx.AsyncClient(base_url=sandbox, timeout=60, trust_env=False) as client:
        for start in range(0, len(all_), AT_ONCE):
            part = all_[start : start + AT_ONCE]
            payments = [
                {
                    "out_trade_no": one.trade_no,
                    "transaction_id": one.transaction_id,
                    "total": one.fen,
                    "paid_at": one.at,
                }
                for one in part
            ]
            refunds = [
                {
                    "out_refund_no": one.refund_id,
                    "refund_id": one.theirs,
                    "transaction_id": one.transaction_id,
                    "out_trade_no": one.trade_no,
                    "amount": REFUND_FEN,
                    "total": one.fen,
                    "created_at": one.at + 60,
                    "succeeded_at": one.at + 62,
                }
                for one in part
                if one.refunded
            ]
            body = {"payments": payments, "refunds": refunds}
            (await client.post("/_sim/wechat/bills/seed", json=body)).raise_for_status()


async def ours(
    url: str, all_: Sequence[Sold], *, unpaid: Collection[int] = (), undone: Collection[int] = ()
) -> None:
    """Into payment-svc's tables at `url`; `unpaid` still wait for their payment, the refunds of
    `undone` for their end."""
    connection = await asyncpg.connect(url, timeout=5, command_timeout=600)
    try:
        async with connection.transaction():
            for table, rows in _tables(all_, unpaid, undone):
                await connection.copy_records_to_table(
                    table,
                    records=[tuple(row.values()) for row in rows],
                    columns=list(rows[0]),
                )
    finally:
        await connection.close()


Row = Mapping[str, Any]


def _tables(
    all_: Sequence[Sold], unpaid: Collection[int], undone: Collection[int]
) -> Iterator[tuple[str, list[Row]]]:
    """Table and rows, in an order that foreign keys allow."""
    paid = [one for one in all_ if one.n not in unpaid]
    back = [one for one in paid if one.refunded]
    yield "payment_order", [_order(one, one.n not in unpaid, one.n in undone) for one in all_]
    yield "attempt", [_attempt(one, one.n not in unpaid) for one in all_]
    yield "charge", [_charge(one) for one in paid]
    if back:
        yield "refund", [_refund(one, one.n not in undone) for one in back]
    bookings = [_Booking.of_charge(one) for one in paid]
    bookings += [_Booking.of_refund(one) for one in back if one.n not in undone]
    yield "ledger_txn", [booking.txn for booking in bookings]
    yield "ledger_entry", [leg for booking in bookings for leg in booking.legs]


def _ids(one: Sold) -> tuple[str, str, str]:
    return (
        derived_id("pay", one.trade_no),
        derived_id("try", one.trade_no),
        derived_id("chg", CHANNEL, one.transaction_id),
    )


def _order(one: Sold, paid: bool, undone: bool) -> Row:
    back = REFUND_FEN if paid and one.refunded and not undone else 0
    state = "pending" if not paid else "partially_refunded" if back else "paid"
    return {
        "id": _ids(one)[0],
        "case_id": derived_id("case", one.trade_no),
        "fee_code": "FEE-BUSY",
        "item_code": "BUSY",
        "item_name": "工本费",
        "payer_id": "acc_busy_day",
        "amount_fen": one.fen,
        "paid_fen": one.fen if paid else 0,
        "refunded_fen": back,
        "state": state,
        "version": 3,
        "region": REGION,
        "dept": DEPT,
        "expires_at": one.moment + timedelta(days=30),
        "paid_at": one.moment if paid else None,
        "created_at": one.moment - timedelta(minutes=5),
    }


def _attempt(one: Sold, paid: bool) -> Row:
    order, attempt, _ = _ids(one)
    return {
        "id": attempt,
        "order_id": order,
        "n": 1,
        "method": "wechat_native",
        "channel": CHANNEL,
        "trade_no": one.trade_no,
        "amount_fen": one.fen,
        "state": "paid" if paid else "submitted",
        "version": 3,
        "expires_at": one.moment + timedelta(days=30),
        # The sweeper shall not be quicker than the bill.
        "next_query_at": one.moment + timedelta(days=30),
        "created_at": one.moment - timedelta(minutes=5),
    }


def _charge(one: Sold) -> Row:
    order, attempt, charge = _ids(one)
    return {
        "id": charge,
        "order_id": order,
        "attempt_id": attempt,
        "channel": CHANNEL,
        "transaction_id": one.transaction_id,
        "amount_fen": one.fen,
        "account": f"payable:{DEPT}:BUSY",
        "returned_fen": REFUND_FEN if one.refunded else 0,
        "paid_at": one.moment,
        "created_at": one.moment,
    }


def _refund(one: Sold, done: bool) -> Row:
    order, _, charge = _ids(one)
    asked = one.moment + timedelta(minutes=1)
    return {
        "id": one.refund_id,
        "order_id": order,
        "charge_id": charge,
        "n": 1,
        "amount_fen": REFUND_FEN,
        "reason": "withdrawn",
        "state": "succeeded" if done else "submitted",
        "version": 3 if done else 2,
        "channel_refund_id": one.theirs,
        # Nobody shall ask before the bill does.
        "next_try_at": asked + timedelta(days=30),
        "succeeded_at": asked + timedelta(seconds=2) if done else None,
        "created_at": asked,
    }


@dataclass(frozen=True)
class _Booking:
    txn: Row
    legs: Sequence[Row]

    @classmethod
    def of(cls, reference: str, kind: str, debit: str, credit: str, fen: int, at: datetime) -> Any:
        txn = derived_id("txn", reference)
        legs = [
            {"txn_id": txn, "n": n, "account": account, "direction": way, "amount_fen": fen}
            for n, account, way in ((1, debit, "debit"), (2, credit, "credit"))
        ]
        row = {
            "id": txn,
            "reference": reference,
            "kind": kind,
            "effective_at": at,
            "recorded_at": at,
        }
        return cls(row, legs)

    @classmethod
    def of_charge(cls, one: Sold) -> Any:
        return cls.of(
            f"charge:{_ids(one)[2]}", "charge", f"clearing:{CHANNEL}", f"payable:{DEPT}:BUSY",
            one.fen, one.moment,
        )  # fmt: skip

    @classmethod
    def of_refund(cls, one: Sold) -> Any:
        return cls.of(
            f"refund:{one.refund_id}", "refund", f"payable:{DEPT}:BUSY", f"clearing:{CHANNEL}",
            REFUND_FEN, one.moment + timedelta(minutes=1),
        )  # fmt: skip
