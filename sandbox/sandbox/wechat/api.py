"""The addresses of WeChat Pay API v3 that a merchant calls."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from .. import faults
from ..book import Book
from ..posts import Courier
from . import bills, orders, refunds
from .wire import Wire, WireError, param_error

Act = Callable[[dict[str, Any]], tuple[int, dict[str, Any] | None]]


class Api:
    """The merchant's side of WeChat Pay as one router."""

    def __init__(
        self,
        wire: Wire,
        book: Book,
        courier: Courier,
        *,
        refund_seconds: float,
        hang_seconds: float,
    ) -> None:
        self._wire, self._book, self._courier = wire, book, courier
        self._refund_seconds, self._hang_seconds = refund_seconds, hang_seconds
        self.router = APIRouter(prefix="/v3")
        trade = "/pay/transactions/out-trade-no/{number}"
        refund = "/refund/domestic/refunds"
        self.router.add_api_route("/certificates", self.certificates, methods=["GET"])
        self.router.add_api_route("/pay/transactions/native", self.order, methods=["POST"])
        self.router.add_api_route(trade, self.query, methods=["GET"])
        self.router.add_api_route(f"{trade}/close", self.close, methods=["POST"])
        self.router.add_api_route(refund, self.refund, methods=["POST"])
        self.router.add_api_route(f"{refund}/{{number}}", self.query_refund, methods=["GET"])
        self.router.add_api_route("/bill/tradebill", self.bill, methods=["GET"])
        self.router.add_api_route("/billdownload/file", self.download, methods=["GET"])

    async def certificates(self, request: Request) -> Response:
        """The platform's certificates, sealed."""
        return await self._call(request, "certificates", lambda _: (200, self._wire.certificates()))

    async def order(self, request: Request) -> Response:
        """Place a Native order."""
        lost = False

        def act(told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            nonlocal lost
            order, new = orders.place(self._book, self._wire.side, told)
            lost = new and order["total"] == orders.MAGIC_TIMEOUT
            return 200, {"code_url": orders.code_url(order)}

        answer = await self._call(request, "order", act)
        return await faults.hang(request, self._hang_seconds) if lost else answer

    async def query(self, request: Request, number: str) -> Response:
        """Ask for an order."""
        return await self._call(
            request,
            "query",
            lambda _: (200, orders.query(self._book, number)),
            query_mchid=True,
        )

    async def close(self, request: Request, number: str) -> Response:
        """Close an order."""

        def act(told: dict[str, Any]) -> tuple[int, None]:
            self._ours(told)
            orders.close(self._book, number)
            return 204, None

        return await self._call(request, "close", act)

    async def refund(self, request: Request) -> Response:
        """Ask for a refund."""
        return await self._call(
            request,
            "refund",
            lambda told: (200, refunds.request(self._book, told, self._refund_seconds)),
        )

    async def query_refund(self, request: Request, number: str) -> Response:
        """Ask for a refund's state."""
        return await self._call(
            request, "query_refund", lambda _: (200, refunds.query(self._book, number))
        )

    async def bill(self, request: Request) -> Response:
        """Ask for the bill of a day."""
        asked, host = request.query_params, str(request.base_url).rstrip("/")
        return await self._call(
            request, "bill", lambda _: (200, bills.apply(self._book, self._wire.side, asked, host))
        )

    async def download(self, request: Request) -> Response:
        """Fetch the file of a bill. This answer alone is not signed."""
        try:
            self._wire.verify("GET", _raw_target(request), request.headers, b"")
            fault = faults.take(self._book, "wechat", "download")
            if fault is not None:
                return await self._fault(request, fault[0])
            content = bills.download(self._book, request.query_params.get("token", ""))
        except WireError as error:
            told = {"code": error.code, "message": error.message}
            return JSONResponse(told, error.status)
        return Response(content, media_type="application/octet-stream")

    async def _call(
        self, request: Request, call: str, act: Act, *, query_mchid: bool = False
    ) -> Response:
        """Check the signature, suffer planned faults, act, answer signed."""
        body = await request.body()
        try:
            self._wire.verify(request.method, _raw_target(request), request.headers, body)
            fault = faults.take(self._book, "wechat", call)
            if fault is not None and fault[1] == "before":
                return await self._fault(request, fault[0])
            told = _payload(request, body)
            if query_mchid:
                self._ours(request.query_params)
            status, payload = act(told)
        except WireError as error:
            return self._wire.refusal(error)
        self._courier.wake()
        if fault is not None:
            return await self._fault(request, fault[0])
        return self._wire.answer(status, payload)

    async def _fault(self, request: Request, kind: str) -> Response:
        if kind == "timeout":
            return await faults.hang(request, self._hang_seconds)
        if kind == "429":
            return self._wire.refusal(WireError(429, "FREQUENCY_LIMITED", "频率限制"))
        return self._wire.refusal(WireError(500, "SYSTEM_ERROR", "系统异常,请稍后重试"))

    def _ours(self, told: Mapping[str, Any]) -> None:
        if not told.get("mchid"):
            raise param_error("缺少 mchid")
        if told["mchid"] != self._wire.side.mchid:
            raise WireError(400, "INVALID_REQUEST", "mchid 与签名的商户号不一致")


def _raw_target(request: Request) -> bytes:
    """Path and query exactly as they came."""
    path = bytes(request.scope["raw_path"])
    query = bytes(request.scope["query_string"])
    return path + b"?" + query if query else path


def _payload(request: Request, body: bytes) -> dict[str, Any]:
    """The JSON object of a POST; WeChat Pay insists on the three headers."""
    if "application/json" not in request.headers.get("accept", "") and (
        "*/*" not in request.headers.get("accept", "")
    ):
        raise param_error("Accept 请求头需为 application/json")
    if not request.headers.get("user-agent"):
        raise param_error("缺少 User-Agent 请求头")
    if request.method == "GET":
        return {}
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise WireError(415, "PARAM_ERROR", "Content-Type 请求头需为 application/json")
    try:
        told = json.loads(body)
        # Half a character, escaped, is JSON but no text.
        json.dumps(told, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise param_error("请求体需为 JSON") from None
    if not isinstance(told, dict):
        raise param_error("请求体需为 JSON 对象")
    return told
