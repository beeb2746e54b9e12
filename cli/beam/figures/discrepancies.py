"""A day of a payment channel made up for figure 13: payments and refunds that agree with our books,
but for a few that are wrong in every way there is, and a list of which.

`make` invents it, `fill` writes our side into payment-svc's database, `Day.bill` is the channel's
side as a value; `Day.payments` and `Day.refunds` are the same for the sandbox's `bills/seed`. What
the sandbox has is what its bill tells, so whatever the channel is asked for agrees with the bill.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import asyncpg

from kit.clock import CITY
from payment_svc.channels.bills import Bill, BillKind, BillLine

CHANNEL = "wechat"
TYPES = (
    "amount_mismatch", "local_not_paid", "missing_local", "missing_remote",
    "refund_amount_mismatch", "refund_local_not_done", "refund_missing_local",
    "refund_missing_remote",
)  # fmt: skip
REFUNDS = 10
"""One refund in so many lines."""
_ACCOUNT = "payable:SAMR:A05"


@dataclass(frozen=True, slots=True)
class Line:
    """One payment or refund as both sides have it; None: that side does not have it at all."""

    n: int
    kind: BillKind
    at: datetime
    """Aware, UTC, whole seconds."""
    there: int | None
    """Fen in the channel's book."""
    here: int | None
    """Fen in ours."""
    booked: bool = True
    """Whether ours is paid, or given back."""

    def number(self, what: str) -> str:
        """One of its numbers; the same every time."""
        return hashlib.sha256(f"{self.kind}|{self.n}|{self.at:%Y%m%d}|{what}".encode()).hexdigest()

    @property
    def trade_no(self) -> str:
        return self.number("trade")[:32]

    @property
    def transaction_id(self) -> str:
        return f"42{int(self.number('transaction')[:20], 16):026d}"

    @property
    def refund_no(self) -> str:
        return f"ref_{self.number('refund')[:32]}"

    @property
    def refund_id(self) -> str:
        return f"503{int(self.number('back')[:20], 16):025d}"

    @property
    def subject(self) -> str:
        trade = self.kind is BillKind.TRADE
        return f"trade:{self.transaction_id}" if trade else f"refund:{self.refund_no}"


@dataclass(frozen=True)
class Day:
    """A made-up day. `wrong`: subject of each difference → its type."""

    day: date
    lines: tuple[Line, ...]
    paid_before: tuple[Line, ...]
    """The payments, of other days, that the refunds give back; both sides agree about them."""
    wrong: Mapping[str, str] = field(default_factory=dict)

    @property
    def bill(self) -> Bill:
        """What the channel tells of the day."""
        return bill_of(self.day, [*self.told()])

    def told(self) -> Iterator[BillLine]:
        """The lines of the bill."""
        before = dict(zip((x.n for x in self.lines if _back(x)), self.paid_before, strict=True))
        for line in self.lines:
            if line.there is None:
                continue
            paid = before.get(line.n, line)
            yield BillLine(
                kind=line.kind,
                out_trade_no=paid.trade_no,
                transaction_id=paid.transaction_id,
                out_refund_no=line.refund_no if _back(line) else "",
                refund_id=line.refund_id if _back(line) else "",
                amount_fen=line.there,
                state="SUCCESS",
                at=line.at,
            )

    @property
    def payments(self) -> list[dict[str, Any]]:
        """For the sandbox: what was paid there, on this day and before."""
        paid = [x for x in (*self.paid_before, *self.lines) if not _back(x) and x.there is not None]
        return [
            {
                "out_trade_no": line.trade_no,
                "transaction_id": line.transaction_id,
                "total": line.there,
                "paid_at": line.at.timestamp(),
            }
            for line in paid
        ]

    @property
    def refunds(self) -> list[dict[str, Any]]:
        """For the sandbox: what was given back there."""
        backs = [line for line in self.lines if _back(line)]
        return [
            {
                "out_refund_no": back.refund_no,
                "refund_id": back.refund_id,
                "transaction_id": paid.transaction_id,
                "out_trade_no": paid.trade_no,
                "amount": back.there,
                "total": paid.there,
                "created_at": back.at.timestamp(),
                "succeeded_at": back.at.timestamp(),
            }
            for back, paid in zip(backs, self.paid_before, strict=True)
            if back.there is not None
        ]


def bill_of(day: date, lines: list[BillLine], digest: str = "") -> Bill:
    """A bill of these lines, with the sums that it tells."""
    trades = [line.amount_fen for line in lines if line.kind is BillKind.TRADE]
    backs = [line.amount_fen for line in lines if line.kind is BillKind.REFUND]
    known = hashlib.sha1(repr(lines).encode(), usedforsecurity=False).hexdigest()
    return Bill(day, digest or known, lines, len(trades), sum(trades), len(backs), sum(backs))


def make(day: date, *, lines: int = 100_000, wrong: int = 50, seed: int = 13) -> Day:
    """A day with so many lines in books and bill together, so many of them wrong, every type of
    difference as often as the others. Raises ValueError when there is no room for them."""
    dice = random.Random(seed)
    begin = datetime.combine(day, time.min, CITY).astimezone(UTC)
    kinds = [BillKind.REFUND if n % REFUNDS == 0 else BillKind.TRADE for n in range(lines)]
    places: dict[int, str] = {}
    for kind in BillKind:
        types = [t for t in TYPES if t.startswith("refund") == (kind is BillKind.REFUND)]
        share = wrong // 2 + (wrong % 2 if kind is BillKind.TRADE else 0)
        room = [n for n, found in enumerate(kinds) if found is kind]
        if share > len(room):
            raise ValueError("more differences than lines")
        for place, n in enumerate(dice.sample(room, share)):
            places[n] = types[place % len(types)]
    made = tuple(
        _line(n, kind, begin + timedelta(seconds=dice.randrange(86_400)), dice, places.get(n))
        for n, kind in enumerate(kinds)
    )
    before = tuple(
        Line(line.n, BillKind.TRADE, begin - timedelta(days=2, seconds=line.n % 3600), fen, fen)
        for line in made
        if _back(line) and (fen := max(line.there or 0, line.here or 0))
    )
    return Day(day, made, before, {made[n].subject: kind for n, kind in places.items()})


def _line(n: int, kind: BillKind, at: datetime, dice: random.Random, wrong: str | None) -> Line:
    fen = dice.randrange(100, 100_000)
    there, here, booked = fen, fen, True
    match (wrong or "").removeprefix("refund_"):
        case "amount_mismatch":
            return Line(n, kind, at, fen + 1, fen)
        case "local_not_paid" | "local_not_done":
            booked = False
        case "missing_local":
            return Line(n, kind, at, fen, None)
        case "missing_remote":
            return Line(n, kind, at, None, fen)
    return Line(n, kind, at, there, here, booked)


def _back(line: Line) -> bool:
    return line.kind is BillKind.REFUND


async def fill(connection: asyncpg.Connection, made: Day) -> None:
    """Write our side into payment-svc's database, in one transaction: orders, attempts, charges,
    refunds and their bookings, as the service would have."""
    orders, attempts, charges, refunds = [], [], [], []
    bookings: list[tuple[str, str, str, datetime, int]] = []
    backs = iter([line for line in made.lines if _back(line)])
    trades = [*made.paid_before, *(line for line in made.lines if not _back(line))]
    for place, line in enumerate(trades):
        back = next(backs) if place < len(made.paid_before) else None
        if line.here is None:
            continue
        key = line.number("order")[:32]
        done = back is not None and back.here is not None and back.booked
        given = back.here if back is not None and back.here is not None else 0
        paid = line.here if line.booked else 0
        state = "pending" if not line.booked else "paid"
        if done:
            state = "refunded" if given == paid else "partially_refunded"
        orders.append(
            (
                f"pay_{key}", f"case_{key}", "FEE-A05", "A05", "食品经营许可", "acc_made_up",
                line.here, paid, given if done else 0, state, 1, "310115", "SAMR",
                line.at + timedelta(days=7), line.at if line.booked else None,
            )
        )  # fmt: skip
        attempts.append(
            (
                f"try_{line.trade_no}", f"pay_{key}", 1, "wechat_native", CHANNEL, line.trade_no,
                line.here, "paid" if line.booked else "closed", 1, line.at, line.at,
            )
        )  # fmt: skip
        if not line.booked:
            continue
        charges.append(
            (
                f"chg_{key}", f"pay_{key}", f"try_{line.trade_no}", CHANNEL, line.transaction_id,
                line.here, _ACCOUNT, given, line.at,
            )
        )  # fmt: skip
        bookings.append((f"charge:chg_{key}", "clearing:wechat", _ACCOUNT, line.at, line.here))
        if back is None or back.here is None:
            continue
        refunds.append(
            (
                back.refund_no, f"pay_{key}", f"chg_{key}", 1, back.here, "withdrawn",
                "succeeded" if back.booked else "error", 1, back.at,
                back.at if back.booked else None, back.at,
            )
        )  # fmt: skip
        if back.booked:
            bookings.append(
                (f"refund:{back.refund_no}", _ACCOUNT, "clearing:wechat", back.at, back.here)
            )
    await _write(connection, orders, attempts, charges, refunds, bookings)


async def _write(
    connection: asyncpg.Connection,
    orders: list[Any],
    attempts: list[Any],
    charges: list[Any],
    refunds: list[Any],
    bookings: list[tuple[str, str, str, datetime, int]],
) -> None:
    txns = [
        (f"txn_{hashlib.sha256(reference.encode()).hexdigest()[:32]}", reference, at)
        for reference, _, _, at, _ in bookings
    ]
    kinds = [(*txn[:2], txn[1].partition(":")[0], txn[2]) for txn in txns]
    legs = [
        (txn[0], n, account, direction, fen)
        for txn, (_, debit, credit, _, fen) in zip(txns, bookings, strict=True)
        for n, account, direction in ((1, debit, "debit"), (2, credit, "credit"))
    ]
    tables = (
        (
            "payment_order",
            "id case_id fee_code item_code item_name payer_id amount_fen paid_fen refunded_fen "
            "state version region dept expires_at paid_at",
            orders,
        ),
        (
            "attempt",
            "id order_id n method channel trade_no amount_fen state version expires_at "
            "next_query_at",
            attempts,
        ),
        (
            "charge",
            "id order_id attempt_id channel transaction_id amount_fen account returned_fen paid_at",
            charges,
        ),
        (
            "refund",
            "id order_id charge_id n amount_fen reason state version next_try_at succeeded_at "
            "created_at",
            refunds,
        ),
        ("ledger_txn", "id reference kind effective_at", kinds),
        ("ledger_entry", "txn_id n account direction amount_fen", legs),
    )
    async with connection.transaction():
        for table, columns, rows in tables:
            await connection.copy_records_to_table(
                table, columns=columns.split(), records=rows, timeout=600
            )
