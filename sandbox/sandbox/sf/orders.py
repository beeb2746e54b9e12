"""Orders at SF: placing, asking, calling off; magic telephone numbers choose a parcel's fate."""

import json
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..book import Book
from .wire import BusinessError

# The receiver's mobile: (the step the parcel ends with, or what happens to the order).
MAGIC_MOBILES = {
    "13800000011": "delivered",
    "13800000012": "lost",
    "13800000013": "returned",
    "13800000014": "refused",
    "13800000015": "timeout",
}
_LAST8 = re.compile(r"1:[0-9]{7}[0-9X]")


def place(
    book: Book,
    monthly_card: str,
    told: Mapping[str, Any],
    pause: Callable[[bool], float | None],
) -> tuple[dict[str, Any], bool]:
    """EXP_RECE_CREATE_ORDER. Its msgData, and whether the answer shall be lost.

    `pause(magic)`: seconds until such a parcel starts to move by itself, or None.
    """
    order_id = _text(told, "orderId", 64)
    receiver = _contacts(told)
    _cargo(told)
    _payment(told, monthly_card)
    _handover(told)
    fate = MAGIC_MOBILES.get(str(receiver.get("mobile")), "")
    filter_result = "3" if fate == "refused" else "2"
    wait = None if filter_result == "3" else pause(fate in ("delivered", "lost", "returned"))
    now = time.time()
    with book.act() as db:
        if _find(db, order_id) is not None:
            raise BusinessError("8016", "重复下单")
        db.execute(
            "INSERT INTO sf_orders VALUES (?,?,?,'placed',?,?,?,?)",
            (
                order_id,
                f"SF{1_000_000_000_000 + secrets.randbelow(9 * 10**12)}",
                json.dumps(told, ensure_ascii=False),
                filter_result,
                None if wait is None else "picked_up",
                None if wait is None else now + wait,
                now,
            ),
        )
        return _told(_get(db, order_id)), fate == "timeout"


def update(book: Book, told: Mapping[str, Any]) -> dict[str, Any]:
    """EXP_RECE_UPDATE_ORDER: dealType 1 confirm, 2 cancel."""
    order_id = _text(told, "orderId", 64)
    deal = str(told.get("dealType"))
    if deal not in ("1", "2"):
        raise BusinessError("8018", "dealType 需为 1 或 2")
    with book.act() as db:
        order = _get(db, order_id)
        if order["state"] == "cancelled":
            raise BusinessError("8037", "订单已消单")
        moved = db.execute(
            "SELECT 1 FROM sf_tracks WHERE waybill_no = ?", (order["waybill_no"],)
        ).fetchone()
        if moved is not None:
            raise BusinessError("8252", "订单已确认,快件已收取")
        if deal == "2":
            db.execute(
                "UPDATE sf_orders SET state = 'cancelled', next_step = NULL, next_at = NULL"
                " WHERE order_id = ?",
                (order_id,),
            )
        waybills = [{"waybillType": 1, "waybillNo": order["waybill_no"]}]
        return {"orderId": order_id, "waybillNoInfoList": waybills, "resStatus": 2}


def search(book: Book, told: Mapping[str, Any]) -> dict[str, Any]:
    """EXP_RECE_SEARCH_ORDER_RESP."""
    with book.act() as db:
        order = _get(db, _text(told, "orderId", 64))
    if order["state"] == "cancelled":
        raise BusinessError("8037", "订单已消单")
    return _told(order)


def _told(order: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "orderId": order["order_id"],
        "originCode": "021",
        "destCode": "021",
        "filterResult": int(order["filter_result"]),
        "waybillNoInfoList": [{"waybillType": 1, "waybillNo": order["waybill_no"]}],
        "routeLabelInfo": [],
    }


def _contacts(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Both ends must be there and complete. The receiver."""
    contacts = told.get("contactInfoList")
    if not isinstance(contacts, list) or not all(isinstance(c, Mapping) for c in contacts):
        raise BusinessError("6126", "收寄双方信息不能为空")
    ends = {contact.get("contactType"): contact for contact in contacts}
    if set(ends) != {1, 2}:
        raise BusinessError("6126", "需有一个寄件人和一个收件人")
    for contact in contacts:
        for name in ("contact", "mobile", "address"):
            if not isinstance(contact.get(name), str) or not contact[name].strip():
                raise BusinessError("6127", f"{name} 不能为空")
    receiver: Mapping[str, Any] = ends[2]
    return receiver


def _cargo(told: Mapping[str, Any]) -> None:
    cargo = told.get("cargoDetails")
    if not isinstance(cargo, list) or not cargo:
        raise BusinessError("6132", "托寄物信息不能为空")
    if not all(isinstance(c, Mapping) and c.get("name") for c in cargo):
        raise BusinessError("6132", "托寄物名称不能为空")
    if not isinstance(told.get("expressTypeId"), int):
        raise BusinessError("6138", "快件产品类别不能为空")


def _payment(told: Mapping[str, Any], monthly_card: str) -> None:
    if told.get("payMethod") not in (1, 2, 3):
        raise BusinessError("6150", "付款方式需为 1、2 或 3")
    if told.get("monthlyCard") not in (None, "", monthly_card):
        raise BusinessError("8057", "月结卡号与客户不匹配")


def _handover(told: Mapping[str, Any]) -> None:
    """Handing over against an id card needs the last eight characters of its number."""
    code = told.get("specialDeliveryTypeCode")
    if code is None:
        return
    value = told.get("specialDeliveryValue")
    if code != "1" or not isinstance(value, str) or not _LAST8.fullmatch(value):
        raise BusinessError("8196", "特殊派送类型的内容不符合要求")


def _text(told: Mapping[str, Any], name: str, limit: int) -> str:
    value = told.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise BusinessError("6110", f"{name} 需为 1 到 {limit} 个字符")
    return value


def _find(db: sqlite3.Connection, order_id: str) -> dict[str, Any] | None:
    found = db.execute("SELECT * FROM sf_orders WHERE order_id = ?", (order_id,)).fetchone()
    return dict(found) if found is not None else None


def _get(db: sqlite3.Connection, order_id: str) -> dict[str, Any]:
    found = _find(db, order_id)
    if found is None:
        raise BusinessError("8018", "未获取到订单信息")
    return found
