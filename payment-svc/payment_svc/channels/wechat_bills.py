"""The file of WeChat Pay's daily trade bill: from its compressed bytes to lines, in one pass.

Nothing of the payer is kept: what a line tells beyond `BillLine` is dropped before anything is
written to disk. Source: pay.weixin.qq.com, 交易账单详细说明 (columns by name, amounts in yuan,
times of Beijing) and 下载账单 (the hash is over the file before it was compressed).
"""

import hashlib
import re
import tempfile
import weakref
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import IO
from urllib.parse import urlsplit

from . import BadBill
from .bills import Bill, BillKind, BillLine

_BEIJING = timezone(timedelta(hours=8))
_DOWNLOAD = "/v3/billdownload/file"
_HOSTS = {"https://api.mch.weixin.qq.com", "https://api2.mch.weixin.qq.com"}
"""WeChat Pay's two hosts answer for each other."""
_AT_ONCE = 1 << 20  # bytes that are inflated before they are looked at
_LONGEST_LINE = 1 << 16
_IN_MEMORY = 4 << 20  # bytes of read lines before they go to disk
_YUAN = re.compile(r"\d{1,12}(\.\d{1,5})?")
_NUMBER = re.compile(r"[!-~]{1,64}")
_STATE = re.compile(r"[A-Z_]{1,32}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}")

# Each with the name that merchants of the first years still see.
_TOTAL, _BACK = ("订单金额", "总金额"), ("申请退款金额", "退款金额")
_TOTALS, _BACKS = ("订单总金额", "总交易额"), ("申请退款总金额", "总退款金额")
_COUNT = "总交易单数"


def target_of(url: str, base_url: str) -> str:
    """Path and query of a download address. Raises BadBill when it is not on the channel's host
    or not where bills lie: an address from an answer must not lead us elsewhere."""
    parts = urlsplit(url.strip())
    base = urlsplit(base_url)
    host, ours = f"{parts.scheme}://{parts.netloc}", f"{base.scheme}://{base.netloc}"
    if host != ours and not {host, ours} <= _HOSTS:
        raise BadBill("foreign_host")
    if parts.path != base.path.rstrip("/") + _DOWNLOAD or not parts.query:
        raise BadBill("foreign_path")
    return f"{_DOWNLOAD}?{parts.query}"


class BillFile:
    """Takes a file of `day` piece by piece; `finish` tells the bill, once its hash, its lines and
    its sums agree. Raises BadBill. At most `most_bytes` are inflated."""

    def __init__(self, *, day: date, mchid: str, digest: str, most_bytes: int) -> None:
        self._day, self._mchid, self._digest = day, mchid, digest.lower()
        self._left = most_bytes
        self._hash = hashlib.sha1(usedforsecurity=False)
        self._inflate: zlib._Decompress | None = None
        self._plain = False
        self._rest = b""
        self._number = 0
        self._columns: Sequence[str] = ()
        self._sums: Mapping[str, str] | None = None
        self._summing = False
        self._lines = _Lines()
        self._told = {kind: [0, 0] for kind in BillKind}
        self._summed = {_TOTAL: 0, _BACK: 0}

    def feed(self, piece: bytes) -> None:
        """The next bytes as they came. To be called in a thread: it works for a while."""
        if self._inflate is None and not self._plain:
            # Uncompressed on request only; we ask for gzip, yet the file itself tells.
            self._plain = not piece.startswith(b"\x1f")
            self._inflate = None if self._plain else zlib.decompressobj(31)
        if self._inflate is None:
            self._take(piece)
            return
        try:
            while piece:
                self._take(self._inflate.decompress(piece, _AT_ONCE))
                piece = self._inflate.unconsumed_tail
        except zlib.error:
            raise BadBill("not_gzip") from None

    def finish(self) -> Bill:
        """The bill. `lines` lie in a file without a name, which goes with the bill."""
        if self._inflate is not None and not self._inflate.eof:
            raise BadBill("cut_short")
        if self._rest:
            self._read(self._rest)
        if self._hash.hexdigest() != self._digest:
            raise BadBill("wrong_hash")
        if self._sums is None:
            raise BadBill("cut_short")
        trades, refunds = self._told[BillKind.TRADE], self._told[BillKind.REFUND]
        if self._sums.get(_COUNT) != str(trades[0] + refunds[0]):
            raise BadBill("wrong_count")
        for names, columns in ((_TOTALS, _TOTAL), (_BACKS, _BACK)):
            if _fen(_first(self._sums, names)) != self._summed[columns]:
                raise BadBill("wrong_sum")
        return Bill(
            day=self._day,
            digest=self._digest,
            lines=self._lines.closed(),
            trade_count=trades[0],
            trade_fen=trades[1],
            refund_count=refunds[0],
            refund_fen=refunds[1],
        )

    def _take(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise BadBill("too_large")
        self._hash.update(piece)
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for line in whole:
            self._read(line)
        if len(self._rest) > _LONGEST_LINE:
            raise BadBill("malformed", self._number + 1)

    def _read(self, raw: bytes) -> None:
        self._number += 1
        raw = raw.rstrip(b"\r")
        if not raw:
            return
        try:
            self._understand(raw.decode("utf-8-sig" if self._number == 1 else "utf-8"))
        except (ValueError, KeyError):
            # What stands there may be about a person: the number of the line must do.
            raise BadBill("malformed", self._number) from None

    def _understand(self, line: str) -> None:
        if self._sums is not None:
            raise ValueError("something after the end")
        if line.startswith("`"):
            # Parted by comma and mark: a text may hold a comma, whatever is promised.
            values = line[1:].split(",`")
            if len(values) != len(self._columns):
                raise ValueError("number of fields")
            row = dict(zip(self._columns, values, strict=True))
            if self._summing:
                self._sums = row
            else:
                self._keep(row)
            return
        columns = line.split(",")
        if self._columns and _COUNT not in columns:
            raise ValueError("neither a line nor the sums")
        self._columns, self._summing = columns, _COUNT in columns

    def _keep(self, row: Mapping[str, str]) -> None:
        if row["商户号"] != self._mchid:
            raise BadBill("another_merchant", self._number)
        at = datetime.fromisoformat(_like(_TIME, row["交易时间"])).replace(tzinfo=_BEIJING)
        if at.date() != self._day:
            raise BadBill("another_day", self._number)
        if row["货币种类"] != "CNY":
            raise ValueError("currency")
        total, back = _fen(_first(row, _TOTAL)), _fen(_first(row, _BACK))
        refund = row["交易状态"] != "SUCCESS"
        if refund and row["交易状态"] not in ("REFUND", "REVOKED"):
            raise ValueError("state")
        line = BillLine(
            kind=BillKind.REFUND if refund else BillKind.TRADE,
            out_trade_no=_like(_NUMBER, row["商户订单号"]),
            transaction_id=_like(_NUMBER, row["微信订单号"]),
            out_refund_no=_like(_NUMBER, row["商户退款单号"]) if refund else "",
            refund_id=_like(_NUMBER, row["微信退款单号"]) if refund else "",
            amount_fen=back if refund else total,
            state=_like(_STATE, row["退款状态"] if refund else row["交易状态"]),
            at=at.astimezone(UTC),
        )
        if line.amount_fen == 0:
            raise ValueError("amount")
        told = self._told[line.kind]
        told[0] += 1
        told[1] += line.amount_fen
        self._summed[_TOTAL] += total
        self._summed[_BACK] += back
        self._lines.append(line)


class _Lines:
    """Lines of a bill in a spooled file without a name; can be read again and again."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def append(self, line: BillLine) -> None:
        """Only what `BillLine` tells; no value has a tab or a line end in it."""
        values = (
            line.kind, line.out_trade_no, line.transaction_id, line.out_refund_no,
            line.refund_id, str(line.amount_fen), line.state, str(int(line.at.timestamp())),
        )  # fmt: skip
        self._file.write("\t".join(values).encode() + b"\n")

    def closed(self) -> "_Lines":
        """Itself, with everything written."""
        self._file.flush()
        return self

    def __iter__(self) -> Iterator[BillLine]:
        """Every reader keeps his own place."""
        place = 0
        while True:
            self._file.seek(place)
            some = self._file.readlines(_LONGEST_LINE)
            place = self._file.tell()
            if not some:
                return
            for line in some:
                kind, trade, transaction, refund, refund_id, fen, state, at = (
                    line.decode().rstrip("\n").split("\t")
                )
                yield BillLine(
                    BillKind(kind), trade, transaction, refund, refund_id, int(fen), state,
                    datetime.fromtimestamp(int(at), UTC),
                )  # fmt: skip


def _first(row: Mapping[str, str], names: Sequence[str]) -> str:
    for name in names:
        if name in row:
            return row[name]
    raise KeyError(names[0])


def _fen(yuan: str) -> int:
    """Yuan as fen; what is no whole number of fen is a mistake, never rounded."""
    fen = Decimal(_like(_YUAN, yuan)) * 100
    if fen != int(fen):
        raise ValueError("parts of a fen")
    return int(fen)


def _like(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError("form")
    return text
