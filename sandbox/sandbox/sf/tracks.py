"""A parcel's journey at SF: steps, routes, and the pushes that tell of them."""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

import httpx

from .. import posts
from ..book import Book
from .orders import MAGIC_MOBILES
from .wire import BusinessError

Step = Literal[
    "picked_up", "in_transit", "out_for_delivery", "attempt_failed", "ready_for_pickup",
    "delivered", "lost", "returning", "returned",
]  # fmt: skip

_BEIJING = timezone(timedelta(hours=8))
# step: (opCode, place, remark). SF names no opCode for a loss: 870 is the sandbox's own.
_STEPS: dict[str, tuple[str, str, str]] = {
    "picked_up": ("50", "上海市", "顺丰速运 已收取快件"),
    "in_transit": ("31", "上海市", "快件到达 【上海虹桥中转场】"),
    "out_for_delivery": ("44", "上海市", "正在派送途中,请您准备签收"),
    "attempt_failed": ("70", "上海市", "快件派送不成功,待进一步处理"),
    "ready_for_pickup": ("125", "上海市", "快件到达自提点,请凭取件码取件"),
    "delivered": ("80", "上海市", "已签收,签收类型:本人签收"),
    "lost": ("870", "上海市", "快件遗失,客服将与您联系"),
    "returning": ("648", "上海市", "快件已退回,退回件正在派送"),
    "returned": ("99", "上海市", "退回件已由寄件方签收"),
}
_PATH = ("picked_up", "in_transit", "out_for_delivery")
# What must have happened before a step; what is missing is filled in.
_BEFORE: dict[str, tuple[str, ...]] = {
    "picked_up": (),
    "in_transit": _PATH[:1],
    "out_for_delivery": _PATH[:2],
    "attempt_failed": _PATH,
    "ready_for_pickup": _PATH,
    "delivered": _PATH,
    "lost": _PATH[:2],
    "returning": _PATH[:2],
    "returned": (*_PATH[:2], "returning"),
}
_ENDS = ("delivered", "lost", "returned")
# Waybills that exist without an order, for trying a look-up.
_MAGIC_WAYBILLS = {"SF0000000000001": "delivered", "SF0000000000002": "lost"}


def advance(book: Book, push_url: str, waybill_no: str, to: Step) -> list[dict[str, Any]]:
    """Move a parcel on. The routes added, none if it is there already; a refusal if its journey
    is over."""
    with book.act() as db:
        order = db.execute("SELECT * FROM sf_orders WHERE waybill_no = ?", (waybill_no,)).fetchone()
        if order is None:
            raise BusinessError("8018", "未获取到订单信息")
        if order["state"] == "cancelled" or order["filter_result"] == "3":
            raise BusinessError("8037", "订单已消单")
        if order["state"] == to:
            return []
        if order["state"] in _ENDS:
            raise BusinessError("8252", "快件已结束")
        past = db.execute(
            "SELECT op_code, at FROM sf_tracks WHERE waybill_no = ?", (waybill_no,)
        ).fetchall()
        done = {row["op_code"] for row in past}
        steps = [*(s for s in _BEFORE[to] if _STEPS[s][0] not in done), to]
        last = max((row["at"] for row in past), default=0)
        first = max(last + 1, int(time.time()) - len(steps) + 1)
        added = [_add(db, order, step, moment) for moment, step in enumerate(steps, start=first)]
        db.execute("UPDATE sf_orders SET state = ? WHERE waybill_no = ?", (to, waybill_no))
        if push_url:
            posts.enqueue(db, "sf", waybill_no, push_url, {"rows": added})
        return added


def search(book: Book, told: Mapping[str, Any]) -> dict[str, Any]:
    """EXP_RECE_SEARCH_ROUTES: trackingType 1 waybill, 2 order; up to ten numbers."""
    kind, numbers = str(told.get("trackingType")), told.get("trackingNumber")
    if kind not in ("1", "2"):
        raise BusinessError("6110", "trackingType 需为 1 或 2")
    if not isinstance(numbers, list) or not 0 < len(numbers) <= 10:
        raise BusinessError("6110", "trackingNumber 需为 1 到 10 个单号")
    column = "waybill_no" if kind == "1" else "order_id"
    answers = []
    for number in map(str, numbers):
        # nosemgrep: sql-made-of-strings -- one of the two columns above
        order = book.row(f"SELECT * FROM sf_orders WHERE {column} = ?", number)
        waybill_no = order["waybill_no"] if order else number
        routes = _routes(book, waybill_no) if order else _magic(waybill_no)
        answers.append({"mailNo": waybill_no, "routes": routes})
    return {"routeResps": answers}


def next_at(book: Book) -> float | None:
    """When the next parcel moves by itself."""
    found = book.row("SELECT min(next_at) AS due FROM sf_orders")
    return found["due"] if found else None


def move_due(book: Book, push_url: str, pause: float, magic_pause: float, now: float) -> None:
    """Move all parcels whose time has come, and set the time of their next step."""
    for order in book.rows("SELECT * FROM sf_orders WHERE next_at <= ?", now):
        magic = fate(order)
        path = [*_BEFORE[magic or "delivered"], magic or "delivered"]
        step = order["next_step"]
        rest = path[path.index(step) + 1 :] if step in path else []
        try:
            advance(book, push_url, order["waybill_no"], step)
        except BusinessError:
            # Somebody called it off or brought it to its end by hand meanwhile.
            rest = []
        wait = magic_pause if magic else pause
        with book.act() as db:
            db.execute(
                "UPDATE sf_orders SET next_step = ?, next_at = ? WHERE order_id = ?",
                (rest[0] if rest else None, now + wait if rest else None, order["order_id"]),
            )


def fate(order: Mapping[str, Any]) -> str:
    """The step that a parcel to a magic number ends with, or nothing."""
    contacts = json.loads(order["data"])["contactInfoList"]
    mobile = next(str(c["mobile"]) for c in contacts if c["contactType"] == 2)
    end = MAGIC_MOBILES.get(mobile, "")
    return end if end in _STEPS else ""


class Pushes:
    """The `Sender` of SF's RoutePushService."""

    channel = "sf"
    pauses: Sequence[float] = (30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21_600.0)

    def render(self, post: dict[str, Any]) -> tuple[dict[str, str], bytes]:
        """Up to ten routes as JSON. SF signs nothing."""
        rows = json.loads(post["content"])["rows"]
        body = json.dumps({"Body": {"WaybillRoute": rows}}, ensure_ascii=False).encode()
        return {"Content-Type": "application/json;charset=UTF-8"}, body

    def accepted(self, answer: httpx.Response) -> bool:
        """Only return_code 0000 is a yes."""
        try:
            told = answer.json()
        except ValueError:
            return False
        return (
            answer.status_code == 200
            and isinstance(told, dict)
            and told.get("return_code") == "0000"
        )


def _add(db: sqlite3.Connection, order: Mapping[str, Any], step: str, at: int) -> dict[str, Any]:
    """Write one route and give it in the form of a push."""
    code, place, remark = _STEPS[step]
    cursor = db.execute(
        "INSERT INTO sf_tracks (waybill_no, at, op_code, place, remark) VALUES (?,?,?,?,?)",
        (order["waybill_no"], at, code, place, remark),
    )
    return {
        "mailno": order["waybill_no"],
        "orderid": order["order_id"],
        "id": str(cursor.lastrowid),
        "opCode": code,
        "acceptTime": _time(at),
        "acceptAddress": place,
        "remark": remark,
        "reasonCode": "",
        "reasonName": "",
    }


def _routes(book: Book, waybill_no: str) -> list[dict[str, str]]:
    rows = book.rows("SELECT * FROM sf_tracks WHERE waybill_no = ? ORDER BY at", waybill_no)
    return [_route(row["at"], row["op_code"], row["place"], row["remark"]) for row in rows]


def _magic(waybill_no: str) -> list[dict[str, str]]:
    end = _MAGIC_WAYBILLS.get(waybill_no)
    if end is None:
        return []
    # One fixed day in the past, so that every look-up tells the same.
    start = int(datetime(2026, 1, 5, 9, tzinfo=_BEIJING).timestamp())
    steps = [*_BEFORE[end], end]
    return [_route(start + 3600 * n, *_STEPS[step]) for n, step in enumerate(steps)]


def _route(at: int, code: str, place: str, remark: str) -> dict[str, str]:
    return {"acceptTime": _time(at), "acceptAddress": place, "remark": remark, "opCode": code}


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, _BEIJING).strftime("%Y-%m-%d %H:%M:%S")
