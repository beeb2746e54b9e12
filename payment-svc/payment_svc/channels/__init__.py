"""What payment-svc knows of a payment channel: a small Protocol and its value types.

One file beside this one per channel. Amounts are integer fen, times are aware UTC. Every method
may raise:

- `Unknown`: nobody can say whether the act took place (time-out, lost connection, 5xx). Ask by
  `query` or `query_refund` before doing anything else. Repeating the same act under the same
  number is safe as well.
- `Refused`: the channel said no and did nothing; `code` is the channel's own word.
- `BadSignature`: the message did not come from the channel. Trust nothing in it. It is an
  `Unknown` too: an answer that cannot be believed leaves the outcome open.

Never call a channel inside a database transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

from .bills import Bill


class ChannelError(Exception):
    """Base of all that a channel raises."""


class Unknown(ChannelError):
    """The outcome is unknown: the act may have taken place."""


class Refused(ChannelError):
    """The channel refused and did nothing. `code` is its own error code."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message


class BadSignature(Unknown):
    """The message is forged, altered or stale. `probe` marks the channel's own harmless test of
    our check: still answer a failure, but raise no alarm."""

    def __init__(self, reason: str, *, probe: bool = False) -> None:
        super().__init__(reason)
        self.probe = probe


class NoBill(ChannelError):
    """The channel has no bill of the day and never will: nothing moved on it there."""


class BillNotReady(ChannelError):
    """The channel has not written the bill yet: ask again in half an hour."""


class BadBill(ChannelError):
    """The bill cannot be believed, and nothing of it may be used.

    `reason` is one word: `foreign_host` and `foreign_path` (its download address), `wrong_hash`,
    `not_gzip`, `cut_short`, `too_large`, `malformed`, `another_day`, `another_merchant`,
    `wrong_count`, `wrong_sum` (its summary is not that of its lines). `line` is the number of the
    line at which it was seen; what stands there is never told.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"{reason} (line {line})")
        self.reason = reason
        self.line = line


class TradeState(StrEnum):
    """What the channel says of one order."""

    ABSENT = "absent"  # never arrived there: ordering again is safe
    OPEN = "open"  # may still be paid
    PAID = "paid"  # the money is there, also when it was refunded later
    FAILED = "failed"  # this attempt failed; the order may still be paid
    CLOSED = "closed"  # can never be paid any more


class RefundState(StrEnum):
    """What the channel says of one refund."""

    ABSENT = "absent"  # never arrived there: asking again under the same number is safe
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    CLOSED = "closed"  # will not take place; a new number is needed
    ABNORMAL = "abnormal"  # the payer's account refused it: a person must act


@dataclass(frozen=True, slots=True)
class Order:
    """An order the payer can pay: `pay_url` is shown to him as a QR code."""

    out_trade_no: str
    pay_url: str


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment that took place. One order may in rare cases be paid twice: then each payment
    has its own `transaction_id`."""

    transaction_id: str
    amount_fen: int
    paid_at: datetime


@dataclass(frozen=True, slots=True)
class Trade:
    """The state of an order; `paid` is given if and only if the state is PAID."""

    out_trade_no: str
    state: TradeState
    paid: Paid | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    """The state of a refund. `succeeded_at` is given once it has succeeded; `refund_id` is the
    channel's number and empty while it is ABSENT."""

    out_refund_no: str
    out_trade_no: str
    state: RefundState
    refund_id: str = ""
    amount_fen: int = 0
    succeeded_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A message from the channel, verified and decrypted. `id` is the same for every repetition
    of the message; `told` is what it says."""

    id: str
    told: Trade | Refund


class Channel(Protocol):
    """One payment channel. `name` is the word in paths, rows and events, such as `wechat`."""

    name: str

    async def order(
        self, *, out_trade_no: str, amount_fen: int, description: str, expires_at: datetime
    ) -> Order:
        """Place an order of `amount_fen` > 0 under our number (6–32 of `A–Za–z0–9_-|*`).

        The same number with the same arguments gives the same order again; with other arguments
        it is Refused.
        """
        ...

    async def query(self, out_trade_no: str) -> Trade:
        """What became of the order. An order that never arrived is ABSENT, not an error."""
        ...

    async def close(self, out_trade_no: str) -> None:
        """Make sure that nobody can pay the order any more; closing twice is no error.

        Refused if it is paid or never arrived: query then.
        """
        ...

    async def refund(
        self,
        *,
        out_trade_no: str,
        out_refund_no: str,
        amount_fen: int,
        total_fen: int,
        reason: str,
        transaction_id: str | None = None,
    ) -> Refund:
        """Give `amount_fen` of the `total_fen` paid back under our refund number (≤ 64 chars).

        `transaction_id` picks one payment of an order that was paid twice. The same number gives
        the same refund again. Usually PROCESSING first; a notice or `query_refund` tells the end.
        """
        ...

    async def query_refund(self, out_refund_no: str) -> Refund:
        """What became of the refund. One that never arrived is ABSENT, not an error."""
        ...

    async def bill(self, day: date) -> Bill:
        """What the channel itself wrote of a calendar day in Asia/Shanghai.

        A payment belongs to the day on which it succeeded, a refund to the day on which the
        channel accepted it; the refund's state is as of the making of the bill and is never
        brought up to date there. Raises NoBill, BillNotReady, BadBill; Refused for a day that
        has not ended or is too long ago.
        """
        ...

    async def read_notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """Verify and decrypt a call-back: raw headers and raw body, before anything is parsed.

        Raises BadSignature when it cannot be trusted. Answer 204 only after what it tells is
        committed; 401 on BadSignature; 5xx else, then the channel tries again.
        """
        ...
