"""Daily trade bills of WeChat Pay: one file for all that was paid or given back on a day.

The file begins with a byte order mark, its lines end with CR LF, the hash is over exactly these
bytes before they are compressed. A payment belongs to the Beijing day on which it succeeded, a
refund to the one on which it was accepted; its state is told as of nine the next morning and is
not brought up to date later. Source: pay.weixin.qq.com, 交易账单详细说明.
"""

import gzip
import hashlib
import json
import re
import secrets
import time
from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

from ..book import Book
from ..keys import WeChatSide
from .wire import WireError, invalid_request, param_error

BEIJING = timezone(timedelta(hours=8))
DOWNLOAD = "/v3/billdownload/file"
URL_SECONDS = 300
_MADE_AT, _READY_AT = 9, 10  # o'clock on the day after
_TYPES = ("ALL", "SUCCESS", "REFUND")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

_ORDER = (
    "交易时间", "公众账号ID", "商户号", "特约商户号", "设备号", "微信订单号", "商户订单号",
    "用户标识", "交易类型", "交易状态", "付款银行", "货币种类", "应结订单金额", "代金券金额",
)  # fmt: skip
_TIMES = ("退款申请时间", "退款成功时间")
_REFUND = (
    "微信退款单号", "商户退款单号", "退款金额", "充值券退款金额", "退款类型", "退款状态",
)  # fmt: skip
_GOODS = ("商品名称", "商户数据包", "手续费", "费率", "订单金额")
COLUMNS: Mapping[str, Sequence[str]] = {
    "ALL": (*_ORDER, *_REFUND, *_GOODS, "申请退款金额", "费率备注"),
    "SUCCESS": (*_ORDER, *_GOODS, "费率备注"),
    "REFUND": (*_ORDER, *_TIMES, *_REFUND, *_GOODS, "申请退款金额", "费率备注"),
}
_SUMS = {
    "应结订单总金额": "应结订单金额", "退款总金额": "退款金额",
    "充值券退款总金额": "充值券退款金额", "手续费总金额": "手续费",
    "订单总金额": "订单金额", "申请退款总金额": "申请退款金额",
}  # fmt: skip
_REFUND_STATES = {"ABNORMAL": "CHANGE", "CLOSED": "FAIL"}

Row = dict[str, str]


def apply(
    book: Book, side: WeChatSide, asked: Mapping[str, str], host: str, *, now: float | None = None
) -> dict[str, str]:
    """GET /v3/bill/tradebill: hash and address of a file; `host` is where we were asked."""
    day, kind, zipped = _asked(asked)
    moment = datetime.fromtimestamp(time.time() if now is None else now, BEIJING)
    told = book.row("SELECT state, spoil FROM wechat_bill_days WHERE day = ?", day.isoformat())
    state, spoil = (told["state"], told["spoil"]) if told else ("usual", "")
    if state == "usual":
        _in_time(day, moment)
    if state == "creating":
        raise WireError(400, "STATEMENT_CREATING", "账单生成中")
    rows = list(_rows(book, side, day, kind, moment))
    if not rows:
        raise WireError(400, "NO_STATEMENT_EXIST", "请求的账单文件不存在")
    content = _spoilt(write(kind, rows), spoil)
    digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    if spoil == "hash":
        digest = hashlib.sha1(digest.encode(), usedforsecurity=False).hexdigest()
    if spoil == "host":
        host = "http://127.0.0.1:9"
    token = secrets.token_urlsafe(48)
    with book.act() as db:
        db.execute(
            "DELETE FROM wechat_bill_files WHERE made_at < ?", (moment.timestamp() - URL_SECONDS,)
        )
        db.execute(
            "INSERT INTO wechat_bill_files VALUES (?,?,?)",
            (token, gzip.compress(content, 1) if zipped else content, moment.timestamp()),
        )
    url = f"{host}{DOWNLOAD}?token={token}" + ("&tartype=gzip" if zipped else "")
    return {"hash_type": "SHA1", "hash_value": digest, "download_url": url}


def download(book: Book, token: str, *, now: float | None = None) -> bytes:
    """The file of an address that was given at most five minutes ago."""
    found = book.row("SELECT content, made_at FROM wechat_bill_files WHERE token = ?", token)
    if found is None or (time.time() if now is None else now) - found["made_at"] >= URL_SECONDS:
        raise param_error("下载地址不存在或已失效")
    content: bytes = found["content"]
    return content


def write(kind: str, rows: Sequence[Row]) -> bytes:
    """The whole file: header and lines, then header and line of the sums."""
    columns = COLUMNS[kind]
    sums = [name for name, column in _SUMS.items() if column in columns]
    values = [str(len(rows)), *(_sum(rows, _SUMS[name]) for name in sums)]
    lines = [
        ",".join(columns),
        *(_line([row[column] for column in columns]) for row in rows),
        ",".join(["总交易单数", *sums]),
        _line(values),
    ]
    return ("\ufeff" + "\r\n".join(lines) + "\r\n").encode()


def moment_of(day: date) -> float:
    """When a Beijing day begins, in seconds since 1970."""
    return datetime(day.year, day.month, day.day, tzinfo=BEIJING).timestamp()


def _asked(asked: Mapping[str, str]) -> tuple[date, str, bool]:
    text = asked.get("bill_date", "")
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None:
        raise param_error("bill_date 需为 yyyy-MM-dd 格式的日期")
    kind, tar = asked.get("bill_type", "ALL"), asked.get("tar_type")
    if kind not in _TYPES:
        raise param_error("bill_type 需为 ALL、SUCCESS 或 REFUND")
    if tar not in (None, "GZIP"):
        raise param_error("tar_type 需为 GZIP")
    return day, kind, tar is not None


def _in_time(day: date, now: datetime) -> None:
    """A day's bill is there from ten o'clock the next morning, for three months."""
    if day >= now.date():
        raise invalid_request("bill_date 需早于今天")
    year, month = divmod(now.year * 12 + now.month - 1 - 3, 12)
    oldest = date(year, month + 1, min(now.day, monthrange(year, month + 1)[1]))
    if day < oldest:
        raise invalid_request("仅支持三个月内的账单")
    if now < datetime(day.year, day.month, day.day, _READY_AT, tzinfo=BEIJING) + timedelta(days=1):
        raise WireError(400, "STATEMENT_CREATING", "账单生成中")


def _rows(book: Book, side: WeChatSide, day: date, kind: str, now: datetime) -> Iterator[Row]:
    """The lines of a day in the order of their times, with what was changed by hand."""
    begin = moment_of(day)
    span = begin, begin + 86_400
    told_at = min(now.timestamp(), begin + 86_400 + _MADE_AT * 3600)
    edits = book.rows(
        "SELECT act, number, line FROM wechat_bill_edits WHERE day = ?", day.isoformat()
    )
    dropped = {edit["number"] for edit in edits if edit["act"] == "drop"}
    altered = {e["number"]: json.loads(e["line"]) for e in edits if e["act"] == "alter"}
    added = [json.loads(edit["line"]) for edit in edits if edit["act"] == "add"]
    found: list[dict[str, Any]] = []
    if kind != "REFUND":
        found += book.rows(
            "SELECT p.paid_at AS at, p.transaction_id, p.out_trade_no, p.openid, p.total AS amount,"
            " o.description, o.attach, NULL AS out_refund_no, NULL AS refund_id"
            " FROM wechat_payments p JOIN wechat_orders o USING (out_trade_no)"
            " WHERE p.paid_at >= ? AND p.paid_at < ? ORDER BY p.paid_at",
            *span,
        )
    if kind != "SUCCESS":
        found += book.rows(
            "SELECT r.created_at AS at, r.transaction_id, r.out_trade_no, p.openid, r.amount,"
            " o.description, o.attach, r.out_refund_no, r.refund_id, r.state, r.succeeded_at"
            " FROM wechat_refunds r JOIN wechat_payments p USING (transaction_id)"
            " JOIN wechat_orders o ON o.out_trade_no = r.out_trade_no"
            " WHERE r.created_at >= ? AND r.created_at < ? ORDER BY r.created_at",
            *span,
        )
    found += [a for a in added if kind in ("ALL", "REFUND" if a["out_refund_no"] else "SUCCESS")]
    for fact in found:
        numbers = (
            (fact["out_refund_no"], fact["refund_id"])
            if fact["out_refund_no"]
            else (fact["out_trade_no"], fact["transaction_id"])
        )
        if dropped.isdisjoint(numbers):
            for number in numbers:
                fact |= altered.get(number, {})
            yield _row(side, fact, told_at)


def _row(side: WeChatSide, fact: Mapping[str, Any], told_at: float) -> Row:
    refund = fact["out_refund_no"] is not None
    paid, back = ("0.00", _yuan(fact["amount"])) if refund else (_yuan(fact["amount"]), "0.00")
    fee = (fact["amount"] * 6 + 500) // 1000
    row = {
        "交易时间": _time(fact["at"]), "公众账号ID": side.appid, "商户号": side.mchid,
        "特约商户号": "0", "设备号": "", "微信订单号": fact["transaction_id"],
        "商户订单号": fact["out_trade_no"], "用户标识": fact["openid"], "交易类型": "NATIVE",
        "交易状态": "REFUND" if refund else "SUCCESS", "付款银行": "OTHERS", "货币种类": "CNY",
        "应结订单金额": paid, "代金券金额": "0.00", "微信退款单号": "0", "商户退款单号": "0",
        "退款金额": back, "充值券退款金额": "0.00", "退款类型": "", "退款状态": "",
        "商品名称": _text(fact["description"]), "商户数据包": _text(fact["attach"] or ""),
        "手续费": ("-" if refund and fee else "") + _yuan(fee) + "000", "费率": "0.60%",
        "订单金额": paid, "申请退款金额": back, "费率备注": "",
        "退款申请时间": "", "退款成功时间": "",
    }  # fmt: skip
    if refund:
        done = fact["succeeded_at"] is not None and fact["succeeded_at"] <= told_at
        state = "SUCCESS" if done else _REFUND_STATES.get(fact["state"], "PROCESSING")
        state = fact.get("bill_state", state)
        row |= {
            "微信退款单号": fact["refund_id"], "商户退款单号": fact["out_refund_no"],
            "退款类型": "ORIGINAL", "退款状态": state, "退款申请时间": _time(fact["at"]),
            "退款成功时间": _time(fact["succeeded_at"]) if done else "",
        }  # fmt: skip
    return row


def _spoilt(content: bytes, how: str) -> bytes:
    """What a broken or hostile file looks like, for the tests of who reads it."""
    if how == "line":  # a field too few in the first line
        head, first, rest = content.split(b"\r\n", 2)
        return b"\r\n".join([head, first.rpartition(b",")[0], rest])
    if how == "summary":
        head, tail = content.rsplit(b"\r\n`", 1)
        return head + b"\r\n`9" + tail
    if how == "cut":
        return content[: len(content) // 2]
    if how == "bomb":
        return content + b"\r\n" * 32_000_000
    return content


def _line(values: Sequence[str]) -> str:
    return "`" + ",`".join(values)


def _sum(rows: Sequence[Row], column: str) -> str:
    unit = 100_000 if column == "手续费" else 100
    total = sum(int(row[column].replace(".", "")) for row in rows)
    sign, digits = "-" if total < 0 else "", 5 if unit == 100_000 else 2
    return f"{sign}{abs(total) // unit}.{abs(total) % unit:0{digits}d}"


def _yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02d}"


def _time(moment: float) -> str:
    return datetime.fromtimestamp(int(moment), BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def _text(text: str) -> str:
    """Commas part the fields, so that a text may have none."""
    return re.sub(r"[\r\n]", " ", text).replace(",", "\\ ")
