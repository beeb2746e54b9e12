"""Orders and payments at WeChat Pay, with their magic amounts."""

import json
import re
import secrets
import sqlite3
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from .. import posts
from ..book import Book
from ..keys import WeChatSide
from .wire import WireError, invalid_request, param_error

MAGIC_REFUSED = 402  # fen: every attempt to pay is refused
MAGIC_TIMEOUT = 404  # fen: the first order call takes effect, its answer never arrives
MAGIC_TWICE = 409  # fen: paid twice, notified twice

_BEIJING = timezone(timedelta(hours=8))
_OUT_TRADE_NO = re.compile(r"[0-9A-Za-z_\-|*@]{6,32}")
_LIFE = 7 * 86_400
_PARAMS = (
    "appid", "mchid", "description", "out_trade_no", "time_expire", "attach", "notify_url",
    "goods_tag", "support_fapiao", "amount", "detail", "scene_info", "settle_info",
)  # fmt: skip
_DESCRIPTIONS = {
    "SUCCESS": "支付成功",
    "REFUND": "转入退款",
    "NOTPAY": "订单未支付",
    "CLOSED": "订单已关闭",
    "PAYERROR": "支付失败",
}


def place(book: Book, side: WeChatSide, told: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """POST /v3/pay/transactions/native. The order row and whether it is new."""
    params = {name: told[name] for name in _PARAMS if told.get(name) is not None}
    canonical = json.dumps(params, sort_keys=True, ensure_ascii=False)
    number, total = _out_trade_no(params), amount_of(params.get("amount"), "total")
    if params.get("mchid") != side.mchid:
        raise invalid_request("mchid 与签名的商户号不一致")
    if params.get("appid") != side.appid:
        raise WireError(400, "APPID_MCHID_NOT_MATCH", "appid 和 mchid 不匹配")
    description = text_of(params, "description", 127)
    attach = text_of(params, "attach", 128) if "attach" in params else None
    notify_url, expires_at = url_of(params, "notify_url"), _time_expire(params)
    with book.act() as db:
        found = _find(db, number)
        if found is not None:
            if found["params"] != canonical:
                raise invalid_request("请求重入时,参数与首次请求时不一致")
            if found["state"] == "CLOSED":
                raise WireError(400, "ORDER_CLOSED", "该订单已关闭")
            if found["state"] in ("SUCCESS", "REFUND"):
                raise WireError(400, "ORDERPAID", "该订单已支付")
            return found, False
        if expires_at <= time.time():
            raise param_error("time_expire 需晚于当前时间")
        db.execute(
            "INSERT INTO wechat_orders VALUES (?,?,?,?,?,?,?,?,'NOTPAY',?)",
            (
                number, canonical, total, description, attach, notify_url, expires_at,
                secrets.token_urlsafe(9), time.time(),
            ),
        )  # fmt: skip
        placed = _find(db, number)
    assert placed is not None
    return placed, True


def code_url(order: Mapping[str, Any]) -> str:
    """What the payer's telephone reads in the QR code."""
    return f"weixin://wxpay/bizpayurl?pr={order['code']}"


def query(book: Book, number: str) -> dict[str, Any]:
    """The Transaction object of an order; 404 ORDER_NOT_EXIST."""
    with book.act() as db:
        return transaction(db, _get(db, number))


def close(book: Book, number: str) -> None:
    """Close an unpaid order."""
    with book.act() as db:
        order = _get(db, number)
        if order["state"] in ("SUCCESS", "REFUND"):
            raise WireError(400, "ORDERPAID", "该订单已支付,不能关闭")
        if order["state"] == "CLOSED":
            raise WireError(400, "ORDER_CLOSED", "该订单已关闭")
        _set(db, number, "CLOSED")


def pay(book: Book, side: WeChatSide, number: str) -> dict[str, Any]:
    """The payer pays. The Transaction object afterwards; 409 if he cannot.

    Paying what is paid changes nothing, so that whoever lost the answer may ask again.
    """
    with book.act() as db:
        order = _get(db, number)
        if order["state"] in ("SUCCESS", "REFUND"):
            return transaction(db, order)
        order = _payable(db, number)
        if order["total"] == MAGIC_REFUSED:
            _set(db, number, "PAYERROR")
            return transaction(db, _get(db, number))
        _set(db, number, "SUCCESS")
        for _ in range(2 if order["total"] == MAGIC_TWICE else 1):
            transaction_id = f"42000{secrets.randbelow(10**23):023d}"
            db.execute(
                "INSERT INTO wechat_payments VALUES (?,?,?,?,?)",
                (
                    transaction_id,
                    number,
                    order["total"],
                    f"o{secrets.token_urlsafe(20)[:27]}",
                    time.time(),
                ),
            )
            plain = transaction(db, _get(db, number), transaction_id)
            content = {
                "event_type": "TRANSACTION.SUCCESS",
                "original_type": "transaction",
                "summary": "支付成功",
                "plain": plain,
            }
            posts.enqueue(db, "wechat", number, order["notify_url"], content)
        return transaction(db, _get(db, number))


def fail(book: Book, number: str) -> dict[str, Any]:
    """The payer tries and fails; he may try again. WeChat tells nobody."""
    with book.act() as db:
        _payable(db, number)
        _set(db, number, "PAYERROR")
        return transaction(db, _get(db, number))


def expire(book: Book, number: str) -> dict[str, Any]:
    """The time for paying is over now."""
    with book.act() as db:
        order = _payable(db, number)
        now = time.time()
        db.execute("UPDATE wechat_orders SET expires_at = ? WHERE out_trade_no = ?", (now, number))
        return transaction(db, _get(db, order["out_trade_no"]))


def by_code(book: Book, url: str) -> str | None:
    """The order number behind a code_url."""
    found = book.row(
        "SELECT out_trade_no FROM wechat_orders WHERE code = ?", url.rpartition("pr=")[2]
    )
    return found["out_trade_no"] if found else None


def transaction(
    db: sqlite3.Connection, order: Mapping[str, Any], transaction_id: str | None = None
) -> dict[str, Any]:
    """The Transaction object of an order, with one of its payments (the first if not said)."""
    payment = db.execute(
        "SELECT * FROM wechat_payments WHERE out_trade_no = ? AND ? IN ('', transaction_id)"
        " ORDER BY rowid LIMIT 1",
        (order["out_trade_no"], transaction_id or ""),
    ).fetchone()
    params = json.loads(order["params"])
    told: dict[str, Any] = {
        "appid": params["appid"],
        "mchid": params["mchid"],
        "out_trade_no": order["out_trade_no"],
        "trade_state": order["state"],
        "trade_state_desc": _DESCRIPTIONS[order["state"]],
        "attach": order["attach"] or "",
        "amount": {"total": order["total"], "currency": "CNY"},
    }
    if payment is not None:
        told |= {
            "transaction_id": payment["transaction_id"],
            "trade_type": "NATIVE",
            "bank_type": "OTHERS",
            "success_time": beijing(payment["paid_at"]),
            "payer": {"openid": payment["openid"]},
        }
        told["amount"] |= {"payer_total": payment["total"], "payer_currency": "CNY"}
    return told


def beijing(moment: float) -> str:
    """RFC 3339 in Beijing time, whole seconds."""
    return datetime.fromtimestamp(int(moment), _BEIJING).isoformat()


def amount_of(amount: Any, field: str) -> int:
    """A positive amount in fen, in CNY."""
    if not isinstance(amount, Mapping) or amount.get("currency", "CNY") != "CNY":
        raise param_error("amount 需为人民币金额")
    value = amount.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 10**10:
        raise param_error(f"amount.{field} 需为正整数,单位为分")
    return value


def text_of(params: Mapping[str, Any], field: str, limit: int) -> str:
    """A text of 1 to `limit` characters."""
    value = params.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise param_error(f"{field} 需为 1 到 {limit} 个字符")
    return value


def url_of(params: Mapping[str, Any], field: str) -> str:
    """A call-back address: absolute, no query. (Production takes https only.)"""
    value = text_of(params, field, 256)
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.netloc or parts.query or parts.fragment:
        raise param_error(f"{field} 需为完整的网址,且不能携带参数")
    return value


def _out_trade_no(params: Mapping[str, Any]) -> str:
    number = params.get("out_trade_no")
    if not isinstance(number, str) or not _OUT_TRADE_NO.fullmatch(number):
        raise param_error("out_trade_no 需为 6 到 32 个字符,只能是数字、字母和 _-|*@")
    return number


def _time_expire(params: Mapping[str, Any]) -> float:
    if "time_expire" not in params:
        return time.time() + _LIFE
    try:
        moment = datetime.fromisoformat(params["time_expire"])
    except (TypeError, ValueError):
        raise param_error("time_expire 需为 RFC 3339 格式") from None
    if moment.tzinfo is None:
        raise param_error("time_expire 需带时区")
    return moment.timestamp()


def _find(db: sqlite3.Connection, number: str) -> dict[str, Any] | None:
    """An order as of now: one whose time is over is closed by this."""
    db.execute(
        "UPDATE wechat_orders SET state = 'CLOSED' WHERE out_trade_no = ?"
        " AND state IN ('NOTPAY', 'PAYERROR') AND expires_at <= ?",
        (number, time.time()),
    )
    found = db.execute("SELECT * FROM wechat_orders WHERE out_trade_no = ?", (number,)).fetchone()
    return dict(found) if found is not None else None


def _get(db: sqlite3.Connection, number: str) -> dict[str, Any]:
    found = _find(db, number)
    if found is None:
        raise WireError(404, "ORDER_NOT_EXIST", "订单不存在")
    return found


def _payable(db: sqlite3.Connection, number: str) -> dict[str, Any]:
    order = _get(db, number)
    if order["state"] not in ("NOTPAY", "PAYERROR"):
        raise WireError(409, order["state"], _DESCRIPTIONS[order["state"]])
    return order


def _set(db: sqlite3.Connection, number: str, state: str) -> None:
    db.execute("UPDATE wechat_orders SET state = ? WHERE out_trade_no = ?", (state, number))
