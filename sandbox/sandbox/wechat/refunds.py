"""Refunds at WeChat Pay: partial ones are summed per payment, and settle some time later."""

import json
import re
import secrets
import sqlite3
import time
from collections.abc import Mapping
from typing import Any, Literal

from .. import posts
from ..book import Book
from ..keys import WeChatSide
from .orders import amount_of, beijing, text_of, url_of
from .wire import WireError, invalid_request, param_error

Outcome = Literal["SUCCESS", "ABNORMAL", "CLOSED"]

_OUT_REFUND_NO = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}")
_PARAMS = ("transaction_id", "out_trade_no", "out_refund_no", "reason", "notify_url", "amount")
_SUMMARIES = {"SUCCESS": "退款成功", "ABNORMAL": "退款异常", "CLOSED": "退款关闭"}


def request(book: Book, told: Mapping[str, Any], settle_seconds: float) -> dict[str, Any]:
    """POST /v3/refund/domestic/refunds. The same out_refund_no is the same refund."""
    params = {name: told[name] for name in _PARAMS if told.get(name) is not None}
    canonical = json.dumps(params, sort_keys=True, ensure_ascii=False)
    number = params.get("out_refund_no")
    if not isinstance(number, str) or not _OUT_REFUND_NO.fullmatch(number):
        raise param_error("out_refund_no 需为 1 到 64 个字符,只能是数字、字母和 _-|*@")
    if ("transaction_id" in params) == ("out_trade_no" in params):
        raise param_error("transaction_id 和 out_trade_no 需填写其中一个")
    if "reason" in params:
        text_of(params, "reason", 80)
    notify_url = url_of(params, "notify_url") if "notify_url" in params else None
    amount = amount_of(params.get("amount"), "refund")
    total = amount_of(params.get("amount"), "total")
    with book.act() as db:
        found = _find(db, number)
        if found is not None:
            if found["params"] != canonical:
                raise invalid_request("订单金额或退款金额与之前请求不一致,请核实后再试")
            return _told(found)
        payment = _payment(db, params)
        if total != payment["total"]:
            raise invalid_request("订单金额与原订单不一致")
        past = db.execute(
            "SELECT count(*) AS n, coalesce(sum(amount), 0) AS fen FROM wechat_refunds"
            " WHERE transaction_id = ? AND state <> 'CLOSED'",
            (payment["transaction_id"],),
        ).fetchone()
        if past["fen"] + amount > total:
            raise invalid_request("申请退款金额超过可退金额")
        if past["n"] >= 50:
            raise invalid_request("退款次数超过 50 次")
        now = time.time()
        db.execute(
            "INSERT INTO wechat_refunds VALUES (?,?,?,?,?,?,?,'PROCESSING',?,?,?,NULL)",
            (
                number, f"503{secrets.randbelow(10**25):025d}", canonical,
                payment["transaction_id"], payment["out_trade_no"], amount, total, notify_url,
                now, now + settle_seconds,
            ),
        )  # fmt: skip
        db.execute(
            "UPDATE wechat_orders SET state = 'REFUND' WHERE out_trade_no = ?",
            (payment["out_trade_no"],),
        )
        return _told(_get(db, number))


def query(book: Book, number: str) -> dict[str, Any]:
    """GET /v3/refund/domestic/refunds/{out_refund_no}."""
    with book.act() as db:
        return _told(_get(db, number))


def settle(book: Book, side: WeChatSide, number: str, outcome: Outcome) -> dict[str, Any]:
    """A refund under way comes to its end, and the merchant is told."""
    with book.act() as db:
        refund = _get(db, number)
        # ABNORMAL is no end: the platform can still be told to pay it out another way.
        if refund["state"] not in ("PROCESSING", "ABNORMAL"):
            raise WireError(409, refund["state"], "该退款已结束")
        done = time.time() if outcome == "SUCCESS" else None
        db.execute(
            "UPDATE wechat_refunds SET state = ?, succeeded_at = ? WHERE out_refund_no = ?",
            (outcome, done, number),
        )
        told = _told(_get(db, number))
        if refund["notify_url"]:
            plain = {name: value for name, value in told.items() if name in _NOTIFIED}
            plain |= {"mchid": side.mchid, "refund_status": outcome}
            content = {
                "event_type": f"REFUND.{outcome}",
                "original_type": "refund",
                "summary": _SUMMARIES[outcome],
                "plain": plain,
            }
            posts.enqueue(db, "wechat", refund["out_trade_no"], refund["notify_url"], content)
        return told


def next_at(book: Book) -> float | None:
    """When the next refund settles by itself."""
    found = book.row("SELECT min(settle_at) AS due FROM wechat_refunds WHERE state = 'PROCESSING'")
    return found["due"] if found else None


def settle_due(book: Book, side: WeChatSide, now: float) -> None:
    """Settle all refunds whose time has come."""
    due = book.rows(
        "SELECT out_refund_no FROM wechat_refunds WHERE state = 'PROCESSING' AND settle_at <= ?",
        now,
    )
    for row in due:
        settle(book, side, row["out_refund_no"], "SUCCESS")


_NOTIFIED = (
    "out_trade_no", "transaction_id", "out_refund_no", "refund_id", "success_time",
    "user_received_account", "amount",
)  # fmt: skip


def _payment(db: sqlite3.Connection, params: Mapping[str, Any]) -> dict[str, Any]:
    """The payment to refund. An order paid twice means its first payment."""
    column = "transaction_id" if "transaction_id" in params else "out_trade_no"
    # nosemgrep: sql-made-of-strings -- one of the two columns above
    found = db.execute(
        f"SELECT * FROM wechat_payments WHERE {column} = ? ORDER BY rowid LIMIT 1",
        (str(params[column]),),
    ).fetchone()
    if found is not None:
        return dict(found)
    known = db.execute(
        "SELECT 1 FROM wechat_orders WHERE out_trade_no = ?", (str(params.get("out_trade_no")),)
    ).fetchone()
    if known is not None:
        raise invalid_request("订单未支付,不能退款")
    raise WireError(404, "RESOURCE_NOT_EXISTS", "订单不存在")


def _told(refund: Mapping[str, Any]) -> dict[str, Any]:
    amount, total = refund["amount"], refund["total"]
    told = {
        "refund_id": refund["refund_id"],
        "out_refund_no": refund["out_refund_no"],
        "transaction_id": refund["transaction_id"],
        "out_trade_no": refund["out_trade_no"],
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": beijing(refund["created_at"]),
        "status": refund["state"],
        "funds_account": "AVAILABLE",
        "amount": {
            "total": total,
            "refund": amount,
            "payer_total": total,
            "payer_refund": amount,
            "settlement_refund": amount,
            "settlement_total": total,
            "discount_refund": 0,
            "currency": "CNY",
        },
    }
    if refund["succeeded_at"] is not None:
        told["success_time"] = beijing(refund["succeeded_at"])
    return told


def _find(db: sqlite3.Connection, number: str) -> dict[str, Any] | None:
    found = db.execute("SELECT * FROM wechat_refunds WHERE out_refund_no = ?", (number,)).fetchone()
    return dict(found) if found is not None else None


def _get(db: sqlite3.Connection, number: str) -> dict[str, Any]:
    found = _find(db, number)
    if found is None:
        raise WireError(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
    return found
