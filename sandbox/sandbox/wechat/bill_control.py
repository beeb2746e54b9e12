"""`/_sim/wechat/bills`: have a bill at once or late, falsify it, fill the book quickly."""

import json
import secrets
from datetime import date
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ..book import Book
from .bills import moment_of
from .wire import Wire

Spoil = Literal["", "hash", "host", "line", "summary", "cut", "bomb"]


class Day(BaseModel):
    """`ready`: there at once, also of today; `creating`: not yet; `usual`: by the clock.

    `spoil` damages the file: a hash that is another's, a download address elsewhere, a line or a
    sum that is wrong, half of the file, or one that inflates to 64 MB of nothing.
    """

    day: date
    state: Literal["usual", "ready", "creating"] = "usual"
    spoil: Spoil = ""


class Which(BaseModel):
    """A line of a bill, by any number of its payment or refund, theirs or ours."""

    day: date
    number: str


class Change(Which):
    """What the line tells instead: fen, or the state of a refund."""

    amount: int | None = Field(default=None, gt=0)
    state: Literal["SUCCESS", "PROCESSING", "FAIL", "CHANGE"] | None = None


class Foreign(BaseModel):
    """A line of which the merchant knows nothing; a refund when it has `out_refund_no`."""

    day: date
    out_trade_no: str
    amount: int = Field(gt=0)
    out_refund_no: str | None = None
    transaction_id: str | None = None
    second: int = Field(default=43_200, ge=0, lt=86_400)
    """Of the Beijing day."""


class Payment(BaseModel):
    """A payment that took place; `paid_at` in seconds since 1970."""

    out_trade_no: str
    transaction_id: str
    total: int = Field(gt=0)
    paid_at: float


class Refunded(BaseModel):
    """A refund that was asked for, of a payment in the book."""

    out_refund_no: str
    refund_id: str
    transaction_id: str
    out_trade_no: str
    amount: int = Field(gt=0)
    total: int = Field(gt=0)
    created_at: float
    succeeded_at: float | None = None


class Seed(BaseModel):
    """Payments and refunds as if they had been made; nobody is notified."""

    payments: list[Payment] = Field(default=[], max_length=20_000)
    refunds: list[Refunded] = Field(default=[], max_length=20_000)


class BillControl:
    """The control API of bills as one router."""

    def __init__(self, wire: Wire, book: Book) -> None:
        self._wire, self._book = wire, book
        self.router = APIRouter(prefix="/_sim/wechat/bills", tags=["wechat"])
        add = self.router.add_api_route
        add("/days", self.plan_day, methods=["POST"], status_code=204)
        add("/drop", self.drop, methods=["POST"], status_code=204)
        add("/alter", self.alter, methods=["POST"], status_code=204)
        add("/add", self.add, methods=["POST"])
        add("/seed", self.seed, methods=["POST"], status_code=204)
        add("", self.clear, methods=["DELETE"], status_code=204)

    async def plan_day(self, plan: Day) -> None:
        """When the bill of a day is there, and how it is damaged."""
        with self._book.act() as db:
            db.execute(
                "INSERT OR REPLACE INTO wechat_bill_days VALUES (?,?,?)",
                (plan.day.isoformat(), plan.state, plan.spoil),
            )

    async def drop(self, which: Which) -> None:
        """Leave a line out."""
        self._edit(which.day, "drop", which.number)

    async def alter(self, change: Change) -> None:
        """Let a line tell something else."""
        told = {"amount": change.amount, "bill_state": change.state}
        self._edit(
            change.day, "alter", change.number, {k: v for k, v in told.items() if v is not None}
        )

    async def add(self, line: Foreign) -> dict[str, Any]:
        """A line that nobody knows. What it tells."""
        fact = {
            "at": moment_of(line.day) + line.second,
            "transaction_id": line.transaction_id or f"42{secrets.randbelow(10**26):026d}",
            "out_trade_no": line.out_trade_no,
            "openid": f"o{secrets.token_urlsafe(20)[:27]}",
            "amount": line.amount,
            "description": "来历不明",
            "attach": None,
            "out_refund_no": line.out_refund_no,
            "refund_id": f"503{secrets.randbelow(10**25):025d}" if line.out_refund_no else None,
            "state": "PROCESSING",
            "succeeded_at": None,
        }
        self._edit(line.day, "add", line.out_refund_no or line.out_trade_no, fact)
        return fact

    async def seed(self, seed: Seed) -> None:
        """Fill the book quickly."""
        side = self._wire.side
        params = json.dumps({"appid": side.appid, "mchid": side.mchid})
        with self._book.act() as db:
            db.executemany(
                "INSERT OR IGNORE INTO wechat_orders"
                " VALUES (?,?,?,'工本费',NULL,'http://127.0.0.1:9/unused',?,?,'SUCCESS',?)",
                [
                    (
                        p.out_trade_no,
                        params,
                        p.total,
                        p.paid_at,
                        f"seed-{p.out_trade_no}",
                        p.paid_at,
                    )
                    for p in seed.payments
                ],
            )
            db.executemany(
                "INSERT INTO wechat_payments VALUES (?,?,?,?,?)",
                [
                    (
                        p.transaction_id,
                        p.out_trade_no,
                        p.total,
                        f"o{p.out_trade_no:>27.27}",
                        p.paid_at,
                    )
                    for p in seed.payments
                ],
            )
            db.executemany(
                "INSERT INTO wechat_refunds VALUES (?,?,'{}',?,?,?,?,?,NULL,?,?,?)",
                [
                    (
                        r.out_refund_no, r.refund_id, r.transaction_id, r.out_trade_no, r.amount,
                        r.total, "PROCESSING" if r.succeeded_at is None else "SUCCESS",
                        r.created_at, None, r.succeeded_at,
                    )
                    for r in seed.refunds
                ],
            )  # fmt: skip
            db.executemany(
                "UPDATE wechat_orders SET state = 'REFUND' WHERE out_trade_no = ?",
                [(r.out_trade_no,) for r in seed.refunds],
            )

    async def clear(self) -> None:
        """Bills tell the truth again, by the clock."""
        with self._book.act() as db:
            db.execute("DELETE FROM wechat_bill_days")
            db.execute("DELETE FROM wechat_bill_edits")

    def _edit(self, day: date, act: str, number: str, line: Any = None) -> None:
        with self._book.act() as db:
            db.execute(
                "INSERT INTO wechat_bill_edits (day, act, number, line) VALUES (?,?,?,?)",
                (day.isoformat(), act, number, json.dumps(line)),
            )
