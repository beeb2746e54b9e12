"""`/_sim/sf`: move parcels, cause trouble, read SF's book. No digest needed."""

from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from .. import faults, posts
from ..book import Book
from ..posts import Courier
from . import tracks
from .wire import BusinessError


class Advance(BaseModel):
    """Which parcel, by our order number or its waybill, and the step it comes to."""

    order_id: str | None = None
    waybill_no: str | None = None
    to: tracks.Step


class Ref(BaseModel):
    """All pushes about one parcel."""

    waybill_no: str


class Control:
    """The control API as one router. An empty `push_url` means that nothing is pushed."""

    def __init__(self, push_url: str, book: Book, courier: Courier) -> None:
        self._push_url, self._book, self._courier = push_url, book, courier
        self.router = APIRouter(prefix="/_sim/sf", tags=["sf"])
        add = self.router.add_api_route
        add("/book", self.read_book, methods=["GET"])
        add("/advance", self.advance, methods=["POST"])
        add("/pushes", self.plan_pushes, methods=["POST"], status_code=204)
        add("/pushes", self.clear_pushes, methods=["DELETE"], status_code=204)
        add("/pushes/resend", self.resend, methods=["POST"])
        add("/faults", self.plan_fault, methods=["POST"], status_code=204)
        add("/faults", self.clear_faults, methods=["DELETE"], status_code=204)

    async def read_book(self) -> dict[str, Any]:
        """All orders, routes and pushes; no personal data."""
        read = self._book.rows
        return {
            "orders": read(
                "SELECT order_id, waybill_no, state, filter_result, next_step, next_at,"
                " created_at, data ->> '$.specialDeliveryTypeCode' AS special_delivery"
                " FROM sf_orders ORDER BY rowid"
            ),
            "tracks": read(
                "SELECT id, waybill_no, at, op_code, place, remark FROM sf_tracks ORDER BY id"
            ),
            "pushes": read(
                "SELECT id, ref AS waybill_no, state, due_at, tries, last_answer,"
                " json_array_length(content, '$.rows') AS routes"
                " FROM posts WHERE channel = 'sf' ORDER BY rowid"
            ),
        }

    async def advance(self, how: Advance) -> dict[str, Any]:
        """Move a parcel on; steps left out are filled in. One push tells of all of them."""
        waybill_no = how.waybill_no
        if waybill_no is None and how.order_id is not None:
            order = self._book.row(
                "SELECT waybill_no FROM sf_orders WHERE order_id = ?", how.order_id
            )
            waybill_no = order["waybill_no"] if order else None
        try:
            if waybill_no is None:
                raise BusinessError("8018", "未获取到订单信息")
            added = tracks.advance(self._book, self._push_url, waybill_no, how.to)
        except BusinessError as error:
            status = 404 if error.code == "8018" else 409
            detail = {"code": error.code, "message": error.message}
            raise HTTPException(status, detail) from None
        self._courier.wake()
        return {"waybill_no": waybill_no, "routes": added}

    async def plan_pushes(self, plan: posts.Plan) -> None:
        """What shall happen to the next pushes."""
        posts.plan(self._book, "sf", plan)

    async def clear_pushes(self) -> None:
        """Forget these plans."""
        posts.clear(self._book, "sf")

    async def resend(self, ref: Ref) -> dict[str, int]:
        """Push all that was pushed of a parcel again."""
        sent = posts.resend(self._book, "sf", ref.waybill_no)
        self._courier.wake()
        return {"pushes": sent}

    async def plan_fault(self, fault: faults.Fault) -> None:
        """What the next calls shall suffer."""
        faults.plan(self._book, "sf", fault)

    async def clear_faults(self) -> None:
        """Forget these."""
        faults.clear(self._book, "sf")
