"""What a channel's daily bill tells: value types that every channel shares.

A bill is what the channel itself wrote of one calendar day in Asia/Shanghai: one line for each
payment that succeeded and for each refund, and a summary. It names nobody: what a channel tells
of the payer is dropped where the file is read.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class BillKind(StrEnum):
    """What a line tells."""

    TRADE = "trade"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class BillLine:
    """One payment, or one refund. Amounts are integer fen, `at` is aware UTC.

    `out_refund_no` and `refund_id` are empty on a payment. `state` is the channel's own word of
    the line, such as SUCCESS or PROCESSING; a payment line is always money
    that arrived, a refund line is money that left once its state is SUCCESS.
    """

    kind: BillKind
    out_trade_no: str
    transaction_id: str
    out_refund_no: str
    refund_id: str
    amount_fen: int
    state: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Bill:
    """The bill of one `day`. `digest` is the file's hash as the channel told it, verified; the
    same digest is the same bill. `lines` can be read more than once and need not lie in memory.
    Counts and sums (fen) are those of the bill's own summary, checked against its lines."""

    day: date
    digest: str
    lines: Iterable[BillLine]
    trade_count: int
    trade_fen: int
    refund_count: int
    refund_fen: int
