"""WeChat Pay API v3, Native (the payer scans a QR code), for one directly contracted merchant.

Requests are signed with the merchant's key; answers and call-backs are believed only with a fresh
signature of a platform key that came encrypted under our own APIv3 key. Sandbox and production
differ by address and keys alone.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from cryptography.exceptions import InvalidTag

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
)
from .bills import Bill
from .wechat_bills import BillFile, target_of
from .wechat_wire import Merchant, Wire, read

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
        self._wire = Wire(
            base_url=base_url, merchant=merchant, client=client, timeout=timeout, now=now
        )
        self._merchant = merchant
        self._notify_url = notify_url
        self._refund_notify_url = refund_notify_url or notify_url
        self._bill_timeout, self._bill_bytes = bill_timeout, bill_bytes

    async def order(
        self, *, out_trade_no: str, amount_fen: int, description: str, expires_at: datetime
    ) -> Order:
        """See `Channel.order`."""
        until = expires_at.astimezone(_BEIJING).replace(microsecond=0).isoformat()
        told = await self._wire.call(
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
        return Order(out_trade_no, str(read(lambda: told["code_url"])))

    async def query(self, out_trade_no: str) -> Trade:
        """See `Channel.query`."""
        path = f"{_TRADES}/out-trade-no/{quote(out_trade_no, safe='')}"
        query = urlencode({"mchid": self._merchant.mchid})
        try:
            told = await self._wire.call("GET", f"{path}?{query}")
        except Refused as refused:
            if refused.code in ("ORDER_NOT_EXIST", "ORDERNOTEXIST"):
                return Trade(out_trade_no, TradeState.ABSENT)
            raise
        return self._trade(told)

    async def close(self, out_trade_no: str) -> None:
        """See `Channel.close`."""
        path = f"{_TRADES}/out-trade-no/{quote(out_trade_no, safe='')}/close"
        try:
            await self._wire.call("POST", path, {"mchid": self._merchant.mchid})
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
        told = await self._wire.call(
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
            told = await self._wire.call("GET", f"{_REFUNDS}/{quote(out_refund_no, safe='')}")
        except Refused as refused:
            if refused.code in ("RESOURCE_NOT_EXISTS", "REFUNDNOTEXIST"):
                return Refund(out_refund_no, "", RefundState.ABSENT)
            raise
        return self._refund(told, "status")

    async def bill(self, day: date) -> Bill:
        """See `Channel.bill`. The file is fetched, checked and read in one go."""
        query = urlencode({"bill_date": day.isoformat(), "bill_type": "ALL", "tar_type": "GZIP"})
        try:
            told = await self._wire.call("GET", f"{_BILLS}?{query}", seconds=self._bill_timeout)
        except Refused as refused:
            if refused.code == "NO_STATEMENT_EXIST":
                raise NoBill(day.isoformat()) from None
            if refused.code == "STATEMENT_CREATING":
                raise BillNotReady(day.isoformat()) from None
            raise
        url, kind, digest = read(
            lambda: (str(told["download_url"]), told["hash_type"], str(told["hash_value"]))
        )
        if kind != "SHA1":
            raise BadBill("wrong_hash")
        file = BillFile(
            day=day, mchid=self._merchant.mchid, digest=digest, most_bytes=self._bill_bytes
        )
        target = target_of(url, self._wire.base_url)
        await self._wire.download(target, file, seconds=self._bill_timeout)
        return await asyncio.to_thread(file.finish)

    async def read_notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """See `Channel.read_notice`. Raises Unknown if the platform's keys cannot be fetched."""
        await self._wire.verify(headers, body)

        def parse() -> Notice:
            outer = json.loads(body)
            resource = outer["resource"]
            plain = json.loads(self._wire.opened(resource))
            if resource["original_type"] == "transaction":
                return Notice(outer["id"], self._trade(plain))
            return Notice(outer["id"], self._refund(plain, "refund_status"))

        try:
            return read(parse)
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

        return read(parse)

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

        return read(parse)

    def _ours(self, told: Mapping[str, Any]) -> None:
        if told["mchid"] != self._merchant.mchid:
            raise BadSignature("the message is about another merchant")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
