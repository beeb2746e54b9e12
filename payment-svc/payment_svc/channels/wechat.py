"""WeChat Pay API v3, Native (the payer scans a QR code), for one directly contracted merchant.

Requests are signed with the merchant's key; answers and call-backs are believed only with a fresh
signature of a platform key that came encrypted under our own APIv3 key. Sandbox and production
differ by address and keys alone.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import httpx
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from . import (
    BadBill,
    BadSignature,
    BillNotReady,
    NoBill,
    Notice,
    Order,
    Paid,
    Refund,
    RefundState,
    Refused,
    Trade,
    TradeState,
    Unknown,
)
from .bills import Bill
from .wechat_bills import BillFile, target_of
from .wechat_keys import KeyRing, PlatformKeys, authorization, decrypt, public_keys

_T = TypeVar("_T")
_BEIJING = timezone(timedelta(hours=8))
_TRADES = "/v3/pay/transactions"
_BILLS = "/v3/bill/tradebill"
_REFUNDS = "/v3/refund/domestic/refunds"

_TRADE_STATES = {
    "SUCCESS": TradeState.PAID,
    "REFUND": TradeState.PAID,
    "NOTPAY": TradeState.OPEN,
    "USERPAYING": TradeState.OPEN,
    "CLOSED": TradeState.CLOSED,
    "REVOKED": TradeState.CLOSED,
    "PAYERROR": TradeState.FAILED,
}
_REFUND_STATES = {
    "SUCCESS": RefundState.SUCCEEDED,
    "PROCESSING": RefundState.PROCESSING,
    "CLOSED": RefundState.CLOSED,
    "ABNORMAL": RefundState.ABNORMAL,
}


@dataclass(frozen=True, slots=True, repr=False)
class Merchant:
    """Who we are at WeChat Pay. `serial_no` names our certificate; `apiv3_key` has 32 bytes."""

    mchid: str
    appid: str
    serial_no: str
    private_key: RSAPrivateKey
    apiv3_key: bytes

    @classmethod
    def load(cls, folder: Path) -> "Merchant":
        """Read `merchant.json` (mchid, appid, serial_no), `merchant_key.pem` and `apiv3_key`."""
        facts = json.loads((folder / "merchant.json").read_text("utf-8"))
        key = load_pem_private_key((folder / "merchant_key.pem").read_bytes(), None)
        apiv3_key = (folder / "apiv3_key").read_bytes().strip()
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("merchant_key.pem must hold an RSA key")
        if len(apiv3_key) != 32:
            raise ValueError("apiv3_key must have 32 bytes")
        return cls(facts["mchid"], facts["appid"], facts["serial_no"], key, apiv3_key)


class WeChat:
    """The `Channel` for WeChat Pay. Build one per process and share it.

    `notify_url` and `refund_notify_url` are ours, https in production, without a query.
    `timeout` in seconds holds for each call, `bill_timeout` for a bill, for which nobody waits: for
    asking and for its download; `bill_bytes` at most are read of it. `client` stays the caller's
    to close.
    """

    name = "wechat"

    def __init__(
        self,
        *,
        base_url: str,
        merchant: Merchant,
        notify_url: str,
        client: httpx.AsyncClient,
        refund_notify_url: str | None = None,
        timeout: float = 6.0,
        bill_timeout: float = 60.0,
        bill_bytes: int = 512 << 20,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._merchant = merchant
        self._notify_url = notify_url
        self._refund_notify_url = refund_notify_url or notify_url
        self._client = client
        self._timeout = timeout
        self._bill_timeout, self._bill_bytes = bill_timeout, bill_bytes
        self._now = now
        self._platform = PlatformKeys(self._certificates, now)

    async def order(
        self, *, out_trade_no: str, amount_fen: int, description: str, expires_at: datetime
    ) -> Order:
        """See `Channel.order`."""
        until = expires_at.astimezone(_BEIJING).replace(microsecond=0).isoformat()
        told = await self._call(
            "POST",
            f"{_TRADES}/native",
            {
                "appid": self._merchant.appid,
                "mchid": self._merchant.mchid,
                "description": description,
                "out_trade_no": out_trade_no,
                "time_expire": until,
                "notify_url": self._notify_url,
                "amount": {"total": amount_fen, "currency": "CNY"},
            },
        )
        return Order(out_trade_no, str(_read(lambda: told["code_url"])))

    async def query(self, out_trade_no: str) -> Trade:
        """See `Channel.query`."""
        path = f"{_TRADES}/out-trade-no/{quote(out_trade_no, safe='')}"
        query = urlencode({"mchid": self._merchant.mchid})
        try:
            told = await self._call("GET", f"{path}?{query}")
        except Refused as refused:
            if refused.code in ("ORDER_NOT_EXIST", "ORDERNOTEXIST"):
                return Trade(out_trade_no, TradeState.ABSENT)
            raise
        return self._trade(told)

    async def close(self, out_trade_no: str) -> None:
        """See `Channel.close`."""
        path = f"{_TRADES}/out-trade-no/{quote(out_trade_no, safe='')}/close"
        try:
            await self._call("POST", path, {"mchid": self._merchant.mchid})
        except Refused as refused:
            if refused.code not in ("ORDER_CLOSED", "ORDERCLOSED"):
                raise

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
        """See `Channel.refund`. WeChat takes one of the two numbers of the payment, not both."""
        which = (
            {"transaction_id": transaction_id}
            if transaction_id is not None
            else {"out_trade_no": out_trade_no}
        )
        told = await self._call(
            "POST",
            _REFUNDS,
            {
                **which,
                "out_refund_no": out_refund_no,
                "reason": reason,
                "notify_url": self._refund_notify_url,
                "amount": {"refund": amount_fen, "total": total_fen, "currency": "CNY"},
            },
        )
        return self._refund(told, "status")

    async def query_refund(self, out_refund_no: str) -> Refund:
        """See `Channel.query_refund`."""
        try:
            told = await self._call("GET", f"{_REFUNDS}/{quote(out_refund_no, safe='')}")
        except Refused as refused:
            if refused.code in ("RESOURCE_NOT_EXISTS", "REFUNDNOTEXIST"):
                return Refund(out_refund_no, "", RefundState.ABSENT)
            raise
        return self._refund(told, "status")

    async def bill(self, day: date) -> Bill:
        """See `Channel.bill`. The file is fetched, checked and read in one go."""
        query = urlencode({"bill_date": day.isoformat(), "bill_type": "ALL", "tar_type": "GZIP"})
        try:
            told = await self._call("GET", f"{_BILLS}?{query}", seconds=self._bill_timeout)
        except Refused as refused:
            if refused.code == "NO_STATEMENT_EXIST":
                raise NoBill(day.isoformat()) from None
            if refused.code == "STATEMENT_CREATING":
                raise BillNotReady(day.isoformat()) from None
            raise
        url, kind, digest = _read(
            lambda: (str(told["download_url"]), told["hash_type"], str(told["hash_value"]))
        )
        if kind != "SHA1":
            raise BadBill("wrong_hash")
        file = BillFile(
            day=day, mchid=self._merchant.mchid, digest=digest, most_bytes=self._bill_bytes
        )
        await self._download(target_of(url, self._base_url), file)
        return await asyncio.to_thread(file.finish)

    async def _download(self, target: str, file: BillFile) -> None:
        """This answer alone is not signed: the hash in the signed one before vouches for it."""
        request = self._request("GET", target)
        # The bytes of the file, not of a coding on the way.
        request.headers["Accept-Encoding"] = "identity"
        try:
            async with asyncio.timeout(self._bill_timeout):
                answer = await self._client.send(request, stream=True, follow_redirects=False)
                try:
                    if answer.status_code != 200:
                        raise Unknown(f"WeChat Pay gives no file ({answer.status_code})")
                    async for piece in answer.aiter_raw(1 << 16):
                        await asyncio.to_thread(file.feed, piece)
                finally:
                    await answer.aclose()
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unknown(f"no file from WeChat Pay ({type(error).__name__})") from None

    async def read_notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """See `Channel.read_notice`. Raises Unknown if the platform's keys cannot be fetched."""
        await self._platform.verify(headers, body)

        def parse() -> Notice:
            outer = json.loads(body)
            resource = outer["resource"]
            plain = json.loads(decrypt(self._merchant.apiv3_key, resource))
            if resource["original_type"] == "transaction":
                return Notice(outer["id"], self._trade(plain))
            return Notice(outer["id"], self._refund(plain, "refund_status"))

        try:
            return _read(parse)
        except InvalidTag:
            raise BadSignature("the resource is not encrypted under our key") from None

    def _trade(self, told: Mapping[str, Any]) -> Trade:
        """Read a Transaction object, from an answer or a notice."""

        def parse() -> Trade:
            self._ours(told)
            state = _TRADE_STATES[told["trade_state"]]
            paid = None
            if state is TradeState.PAID:
                if told["amount"].get("currency", "CNY") != "CNY":
                    raise ValueError("currency")
                amount = int(told["amount"]["total"])
                paid = Paid(told["transaction_id"], amount, _time(told["success_time"]))
            return Trade(told["out_trade_no"], state, paid)

        return _read(parse)

    def _refund(self, told: Mapping[str, Any], state_field: str) -> Refund:
        """Read a refund; answers and notices name its state differently."""

        def parse() -> Refund:
            if "mchid" in told:
                self._ours(told)
            state = _REFUND_STATES[told[state_field]]
            done = state is RefundState.SUCCEEDED
            return Refund(
                out_refund_no=told["out_refund_no"],
                out_trade_no=told["out_trade_no"],
                state=state,
                refund_id=told["refund_id"],
                amount_fen=int(told["amount"]["refund"]),
                succeeded_at=_time(told["success_time"]) if done else None,
            )

        return _read(parse)

    def _ours(self, told: Mapping[str, Any]) -> None:
        if told["mchid"] != self._merchant.mchid:
            raise BadSignature("the message is about another merchant")

    async def _certificates(self) -> KeyRing:
        """Fetch and decrypt the platform's keys; their answer is signed by one of themselves."""
        answer = await self._send("GET", "/v3/certificates")
        if answer.status_code != 200:
            # Never Refused: this is asked on behalf of a call that may have taken effect.
            raise Unknown(f"WeChat Pay refuses its keys ({answer.status_code})")
        try:
            found = public_keys(self._merchant.apiv3_key, answer.content, self._now())
        except InvalidTag:
            raise BadSignature("the platform's keys are not encrypted under our key") from None
        self._platform.check(found, answer.headers, answer.content)
        return found

    async def _call(
        self,
        method: str,
        target: str,
        payload: Mapping[str, Any] | None = None,
        *,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """One signed call with a verified answer; an empty answer is an empty dict."""
        answer = await self._send(method, target, payload, seconds)
        status = answer.status_code
        # A refusal of our own signature cannot be signed for us; it did nothing in any case.
        if status >= 500 or status in (401, 429):
            raise self._refusal(answer)
        await self._platform.verify(answer.headers, answer.content)
        if status in (200, 204):
            return _read(lambda: dict(json.loads(answer.content or b"{}")))
        if 400 <= status < 500:
            raise self._refusal(answer)
        raise Unknown(f"WeChat Pay answered {status}")

    async def _send(
        self,
        method: str,
        target: str,
        payload: Mapping[str, Any] | None = None,
        seconds: float | None = None,
    ) -> httpx.Response:
        request = self._request(method, target, payload, seconds)
        try:
            return await self._client.send(request, follow_redirects=False)
        except httpx.HTTPError as error:
            # The text of httpx errors may hold our request; the class says enough.
            raise Unknown(f"no answer from WeChat Pay ({type(error).__name__})") from None

    def _request(
        self,
        method: str,
        target: str,
        payload: Mapping[str, Any] | None = None,
        seconds: float | None = None,
    ) -> httpx.Request:
        body = b""
        if payload is not None:
            body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        request = self._client.build_request(
            method, self._base_url + target, content=body or None, timeout=seconds or self._timeout
        )
        m = self._merchant
        request.headers["Authorization"] = authorization(
            m.mchid, m.serial_no, m.private_key, method, request.url.raw_path, body, self._now()
        )
        request.headers["Accept"] = "application/json"
        request.headers["User-Agent"] = "one-beam"
        if body:
            request.headers["Content-Type"] = "application/json"
        return request

    @staticmethod
    def _refusal(answer: httpx.Response) -> Unknown | Refused:
        if answer.status_code >= 500:
            return Unknown(f"WeChat Pay answered {answer.status_code}")
        try:
            told = answer.json()
            return Refused(str(told["code"]), str(told.get("message", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return Refused(f"HTTP_{answer.status_code}")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _read(parse: Callable[[], _T]) -> _T:
    """What a verified message says; one that we cannot read leaves the outcome open."""
    try:
        return parse()
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Unknown(f"unreadable message from WeChat Pay ({type(error).__name__})") from None
