"""SF Express through 丰桥: orders, cancellation, routes, and the routes it pushes.

Sandbox and production differ by address and account alone.
"""

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote_plus

import httpx

from . import (
    BadPush,
    Contact,
    PaidBy,
    Parcel,
    Placed,
    Refused,
    Track,
    TrackStatus,
    Unknown,
)

_T = TypeVar("_T")
_BEIJING = timezone(timedelta(hours=8))
_EXPRESS_STANDARD = 2  # 顺丰标快
_RUNTIME_ERROR = "S0003"  # the inner layer's word for trouble of its own
_PAY_METHODS = {PaidBy.SENDER: 1, PaidBy.ACCOUNT: 1, PaidBy.RECEIVER: 2}

# From the mappings of several users, not from one official table: edit where practice teaches
# better. 870 is the sandbox's own code: SF names none for a loss.
OP_CODES: dict[str, TrackStatus] = {
    **dict.fromkeys(("50", "54"), TrackStatus.PICKED_UP),
    **dict.fromkeys(("30", "31", "36", "105", "106", "302", "305", "310"), TrackStatus.IN_TRANSIT),
    **dict.fromkeys(("44", "204", "634"), TrackStatus.OUT_FOR_DELIVERY),
    **dict.fromkeys(("125", "642"), TrackStatus.READY_FOR_PICKUP),
    **dict.fromkeys(("80", "8000"), TrackStatus.DELIVERED),
    "70": TrackStatus.ATTEMPT_FAILED,
    **dict.fromkeys(("648", "631"), TrackStatus.RETURNING),
    "99": TrackStatus.RETURNED,
    "870": TrackStatus.LOST,
}
# Where the opCode is not known but SF sends its coarser status.
SECONDARY_CODES: dict[str, TrackStatus] = {
    "101": TrackStatus.PICKED_UP,
    "201": TrackStatus.IN_TRANSIT,
    "301": TrackStatus.OUT_FOR_DELIVERY,
    "401": TrackStatus.DELIVERED,
    "1301": TrackStatus.ATTEMPT_FAILED,
}


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """Who we are at SF. `push_token` is the secret last part of the address it pushes to."""

    partner_id: str
    check_word: str
    monthly_card: str
    push_token: str

    @classmethod
    def load(cls, folder: Path) -> "Account":
        """Read `account.json` with these four fields."""
        return cls(**json.loads((folder / "account.json").read_text("utf-8")))


def msg_digest(msg_data: str, timestamp: str, check_word: str) -> str:
    """msgDigest (standard_md5). SF encodes as Java's URLEncoder does: `*` stays, `~` does not."""
    text = quote_plus(msg_data + timestamp + check_word, safe="*").replace("~", "%7E")
    return base64.b64encode(hashlib.md5(text.encode(), usedforsecurity=False).digest()).decode()


class SF:
    """The `Carrier` for SF Express. Build one per process and share it.

    `base_url` is the host; `timeout` in seconds holds for each call. `client` stays the caller's
    to close.
    """

    name = "sf"

    def __init__(
        self,
        *,
        base_url: str,
        account: Account,
        client: httpx.AsyncClient,
        timeout: float = 8.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/std/service"
        self._account = account
        self._client = client
        self._timeout = timeout
        self._now = now

    async def place(self, parcel: Parcel) -> Placed:
        """See `Carrier.place`. Refused with `FILTERED` where SF does not deliver."""
        try:
            told = await self._call("EXP_RECE_CREATE_ORDER", self._order(parcel))
        except Refused as refused:
            if refused.code != "8016":
                raise
            found = await self.find(parcel.order_no)
            if found is None:
                raise Unknown("SF knows the order number, but not the order") from None
            return found
        return _placed(told)

    async def find(self, order_no: str) -> Placed | None:
        """See `Carrier.find`. Refused with `FILTERED` where SF does not deliver."""
        try:
            told = await self._call(
                "EXP_RECE_SEARCH_ORDER_RESP", {"orderId": order_no, "language": "zh-CN"}
            )
        except Refused as refused:
            if refused.code in ("8018", "8024", "6150"):
                return None
            if refused.code == "8037":
                return Placed(order_no, "", cancelled=True)
            raise
        return _placed(told)

    async def cancel(self, order_no: str) -> None:
        """See `Carrier.cancel`."""
        try:
            told = await self._call("EXP_RECE_UPDATE_ORDER", {"orderId": order_no, "dealType": 2})
        except Refused as refused:
            if refused.code != "8037":
                raise
            return
        if _read(lambda: int(told["resStatus"])) != 2:
            raise Refused("NOT_CANCELLED")

    async def tracks(self, waybill_nos: Sequence[str]) -> list[Track]:
        """See `Carrier.tracks`. Raises ValueError for none or more than ten."""
        if not 0 < len(waybill_nos) <= 10:
            raise ValueError("SF takes one to ten waybills at a time")
        told = await self._call(
            "EXP_RECE_SEARCH_ROUTES",
            {
                "language": "zh-CN",
                "trackingType": 1,
                "trackingNumber": list(waybill_nos),
                "methodType": 1,
            },
        )

        def parse() -> list[Track]:
            return [
                _track("", parcel["mailNo"], route)
                for parcel in told["routeResps"]
                for route in parcel["routes"] or ()
            ]

        return _sorted(_read(parse))

    def read_push(self, body: bytes) -> list[Track]:
        """See `Carrier.read_push`: RoutePushService in its JSON form."""
        try:
            rows = json.loads(body)["Body"]["WaybillRoute"]
            if not isinstance(rows, list):
                raise TypeError
            return _sorted([_track(row.get("orderid") or "", row["mailno"], row) for row in rows])
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            # The content holds places and remarks: only its kind of defect is told.
            raise BadPush(f"unreadable route push ({type(error).__name__})") from None

    def accepted(self) -> tuple[str, bytes]:
        """See `Carrier.accepted`."""
        return "application/json", '{"return_code":"0000","return_msg":"成功"}'.encode()

    def not_accepted(self) -> tuple[str, bytes]:
        """See `Carrier.not_accepted`."""
        return "application/json", '{"return_code":"1000","return_msg":"系统异常"}'.encode()

    def _order(self, parcel: Parcel) -> dict[str, Any]:
        order: dict[str, Any] = {
            "language": "zh-CN",
            "orderId": parcel.order_no,
            "cargoDetails": [{"name": parcel.contents, "count": parcel.pieces, "unit": "件"}],
            "contactInfoList": [_contact(1, parcel.sender), _contact(2, parcel.receiver)],
            "expressTypeId": _EXPRESS_STANDARD,
            "payMethod": _PAY_METHODS[parcel.paid_by],
            "isDocall": int(parcel.call_courier),
            "parcelQty": 1,
            "totalWeight": parcel.weight_g / 1000,
        }
        if parcel.paid_by is PaidBy.ACCOUNT:
            order["monthlyCard"] = self._account.monthly_card
        if parcel.holder_id_last8 is not None:
            order["specialDeliveryTypeCode"] = "1"
            order["specialDeliveryValue"] = f"1:{parcel.holder_id_last8}"
        return order

    async def _call(self, service_code: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """One call; the msgData of a success in both layers."""
        msg_data = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        stamp = str(int(self._now() * 1000))
        form = {
            "partnerID": self._account.partner_id,
            "requestID": str(uuid.uuid4()),
            "serviceCode": service_code,
            "timestamp": stamp,
            "msgDigest": msg_digest(msg_data, stamp, self._account.check_word),
            "msgData": msg_data,
        }
        try:
            answer = await self._client.post(self._url, data=form, timeout=self._timeout)
        except httpx.HTTPError as error:
            # The text of httpx errors may hold our request; the class says enough.
            raise Unknown(f"no answer from SF ({type(error).__name__})") from None
        if answer.status_code != 200:
            raise Unknown(f"SF answered {answer.status_code}")
        outer = _read(lambda: dict(answer.json()))
        code = str(outer.get("apiResultCode", ""))
        if code == "A1099" or not code:
            raise Unknown("SF reports an error of its own")
        if code != "A1000":
            raise Refused(code, str(outer.get("apiErrorMsg") or ""))
        inner = _read(lambda: dict(_json(outer["apiResultData"])))
        if inner.get("success") is not True:
            refusal = _read(lambda: str(inner["errorCode"]))
            if refusal == _RUNTIME_ERROR:
                raise Unknown("SF reports an error of its own")
            raise Refused(refusal, str(inner.get("errorMsg") or ""))
        return _read(lambda: dict(_json(inner["msgData"])))


def _contact(kind: int, contact: Contact) -> dict[str, Any]:
    return {
        "contactType": kind,
        "contact": contact.name,
        "mobile": contact.mobile,
        "country": "CN",
        "province": contact.province,
        "city": contact.city,
        "county": contact.county,
        "address": contact.address,
        "company": contact.company,
    }


def _placed(told: Mapping[str, Any]) -> Placed:
    def parse() -> Placed:
        main = [
            str(entry["waybillNo"])
            for entry in told["waybillNoInfoList"] or ()
            if int(entry["waybillType"]) == 1
        ]
        if str(told["filterResult"]) == "3":
            raise Refused("FILTERED", "SF does not deliver there")
        return Placed(told["orderId"], main[0])

    return _read(parse)


def _track(order_no: str, waybill_no: str, row: Mapping[str, Any]) -> Track:
    code = str(row["opCode"])
    stamp, remark = str(row["acceptTime"]), str(row.get("remark") or "")
    status = OP_CODES.get(code) or SECONDARY_CODES.get(str(row.get("secondaryStatusCode") or ""))
    moment = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S").replace(tzinfo=_BEIJING)
    identity = json.dumps([waybill_no, code, stamp, remark], ensure_ascii=False)
    return Track(
        key=hashlib.sha256(identity.encode()).hexdigest()[:32],
        order_no=str(order_no),
        waybill_no=str(waybill_no),
        status=status or TrackStatus.IN_TRANSIT,
        code=code,
        happened_at=moment.astimezone(UTC),
        place=str(row.get("acceptAddress") or ""),
        remark=remark,
        recognised=status is not None,
    )


def _sorted(tracks: list[Track]) -> list[Track]:
    return sorted(tracks, key=lambda track: (track.happened_at, track.key))


def _json(value: Any) -> Any:
    """SF sends some layers as text and some as they are."""
    return json.loads(value) if isinstance(value, str) else value


def _read(parse: Callable[[], _T]) -> _T:
    """What an answer says; one that we cannot read leaves the outcome open."""
    try:
        return parse()
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise Unknown(f"unreadable answer of SF ({type(error).__name__})") from None
