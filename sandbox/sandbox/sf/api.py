"""The one address of 丰桥 that a customer calls."""

import json
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from .. import faults
from ..book import Book
from ..keys import SFSide
from ..posts import Courier
from . import orders, tracks, wire


class Api:
    """`POST /std/service` as one router.

    `step_seconds` and `magic_step_seconds`: the pause between two steps of a parcel that moves by
    itself; the first 0 means that only parcels to magic numbers do.
    """

    def __init__(
        self,
        side: SFSide,
        book: Book,
        courier: Courier,
        *,
        step_seconds: float,
        magic_step_seconds: float,
        hang_seconds: float,
    ) -> None:
        self._side, self._book, self._courier = side, book, courier
        self._step_seconds, self._magic_step_seconds = step_seconds, magic_step_seconds
        self._hang_seconds = hang_seconds
        self.router = APIRouter()
        self.router.add_api_route("/std/service", self.service, methods=["POST"])

    async def service(self, request: Request) -> Response:
        """Check the digest, suffer planned faults, act, answer in two layers."""
        parsed = await request.form()
        form = {name: value for name, value in parsed.items() if isinstance(value, str)}
        lost = False
        fault: tuple[str, faults.Moment] | None = None
        try:
            wire.check(form, self._side.partner_id, self._side.check_word)
            fault = faults.take(self._book, "sf", form["serviceCode"])
            if fault is not None and fault[1] == "before":
                return await self._fault(request, fault[0])
            told, lost = self._act(form["serviceCode"], _object(form["msgData"]))
            answer = wire.answer(told)
        except wire.ApiError as error:
            answer = wire.api_refusal(error)
        except wire.BusinessError as error:
            answer = wire.business_refusal(error)
        self._courier.wake()
        if lost:
            return await faults.hang(request, self._hang_seconds)
        if fault is not None:
            return await self._fault(request, fault[0])
        return JSONResponse(answer)

    def _act(self, service_code: str, told: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """What one service answers, and whether the answer shall be lost."""
        if service_code == "EXP_RECE_CREATE_ORDER":
            return orders.place(self._book, self._side.monthly_card, told, self._pause)
        if service_code == "EXP_RECE_UPDATE_ORDER":
            return orders.update(self._book, told), False
        if service_code == "EXP_RECE_SEARCH_ORDER_RESP":
            return orders.search(self._book, told), False
        if service_code == "EXP_RECE_SEARCH_ROUTES":
            return tracks.search(self._book, told), False
        raise wire.ApiError("A1004", "无对应服务权限")

    def _pause(self, magic: bool) -> float | None:
        """Seconds until a new parcel starts to move by itself."""
        if magic:
            return self._magic_step_seconds
        return self._step_seconds or None

    async def _fault(self, request: Request, kind: str) -> Response:
        if kind == "timeout":
            return await faults.hang(request, self._hang_seconds)
        if kind == "429":
            return JSONResponse(wire.api_refusal(wire.ApiError("A1005", "超出流量限制")))
        return JSONResponse({"message": "Internal Server Error"}, 500)


def _object(msg_data: str) -> dict[str, Any]:
    try:
        told = json.loads(msg_data)
        # Half a character, escaped, is JSON but no text.
        json.dumps(told, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise wire.ApiError("A1001", "msgData 需为 JSON") from None
    if not isinstance(told, dict):
        raise wire.ApiError("A1001", "msgData 需为 JSON 对象")
    return told
