"""`/_sim/wechat`: play the payer, cause trouble, read WeChat Pay's book. No signature needed."""

from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from .. import faults, posts
from ..book import Book
from ..posts import Courier
from . import orders, refunds
from .wire import Wire, WireError


class Which(BaseModel):
    """An order, by our number or by what its QR code says."""

    out_trade_no: str | None = None
    code_url: str | None = None


class Settle(BaseModel):
    """How a refund ends."""

    out_refund_no: str
    outcome: Literal["SUCCESS", "ABNORMAL", "CLOSED"] = "SUCCESS"


class Rotate(BaseModel):
    """`retire`: the older platform keys are withdrawn at once."""

    retire: bool = False


class Ref(BaseModel):
    """All notices about one order and its refunds."""

    out_trade_no: str


def refused(error: WireError) -> HTTPException:
    """The control API's form of an error."""
    return HTTPException(error.status, {"code": error.code, "message": error.message})


class Control:
    """The control API as one router."""

    def __init__(self, wire: Wire, book: Book, courier: Courier) -> None:
        self._wire, self._book, self._courier = wire, book, courier
        self.router = APIRouter(prefix="/_sim/wechat", tags=["wechat"])
        add = self.router.add_api_route
        add("/book", self.read_book, methods=["GET"])
        add("/pay", self.pay, methods=["POST"])
        add("/fail", self.fail, methods=["POST"])
        add("/expire", self.expire, methods=["POST"])
        add("/refunds", self.settle, methods=["POST"])
        add("/notices", self.plan_notices, methods=["POST"], status_code=204)
        add("/notices", self.clear_notices, methods=["DELETE"], status_code=204)
        add("/notices/resend", self.resend, methods=["POST"])
        add("/faults", self.plan_fault, methods=["POST"], status_code=204)
        add("/faults", self.clear_faults, methods=["DELETE"], status_code=204)
        add("/rotate", self.rotate, methods=["POST"])

    async def read_book(self) -> dict[str, Any]:
        """All orders, payments, refunds and notices: what really happened out there."""
        read = self._book.rows
        return {
            "orders": read(
                "SELECT out_trade_no, total, state, expires_at, created_at,"
                " 'weixin://wxpay/bizpayurl?pr=' || code AS code_url"
                " FROM wechat_orders ORDER BY rowid"
            ),
            "payments": read(
                "SELECT transaction_id, out_trade_no, total, paid_at FROM wechat_payments"
                " ORDER BY rowid"
            ),
            "refunds": read(
                "SELECT out_refund_no, refund_id, transaction_id, out_trade_no, amount, total,"
                " state, created_at, succeeded_at FROM wechat_refunds ORDER BY rowid"
            ),
            "notices": read(
                "SELECT id, ref AS out_trade_no, url, signtest, state, due_at, tries, last_answer,"
                " content ->> '$.event_type' AS event_type"
                " FROM posts WHERE channel = 'wechat' ORDER BY rowid"
            ),
        }

    async def pay(self, which: Which) -> dict[str, Any]:
        """The payer pays."""
        number = self._number(which)
        return self._play(lambda: orders.pay(self._book, self._wire.side, number))

    async def fail(self, which: Which) -> dict[str, Any]:
        """The payer tries and fails."""
        number = self._number(which)
        return self._play(lambda: orders.fail(self._book, number))

    async def expire(self, which: Which) -> dict[str, Any]:
        """The time for paying is over."""
        number = self._number(which)
        return self._play(lambda: orders.expire(self._book, number))

    async def settle(self, how: Settle) -> dict[str, Any]:
        """A refund ends now, this way."""
        return self._play(
            lambda: refunds.settle(self._book, self._wire.side, how.out_refund_no, how.outcome)
        )

    async def plan_notices(self, plan: posts.Plan) -> None:
        """What shall happen to the next notices."""
        posts.plan(self._book, "wechat", plan)

    async def clear_notices(self) -> None:
        """Forget these plans."""
        posts.clear(self._book, "wechat")

    async def resend(self, ref: Ref) -> dict[str, int]:
        """Send all notices of an order again."""
        sent = posts.resend(self._book, "wechat", ref.out_trade_no)
        self._courier.wake()
        return {"notices": sent}

    async def plan_fault(self, fault: faults.Fault) -> None:
        """What the next calls shall suffer."""
        faults.plan(self._book, "wechat", fault)

    async def clear_faults(self) -> None:
        """Forget these."""
        faults.clear(self._book, "wechat")

    async def rotate(self, how: Rotate) -> dict[str, str]:
        """Sign with a new platform key."""
        return {"serial_no": self._wire.rotate(retire=how.retire)}

    def _number(self, which: Which) -> str:
        number = which.out_trade_no
        if number is None and which.code_url is not None:
            number = orders.by_code(self._book, which.code_url)
        if number is None:
            raise refused(WireError(404, "ORDER_NOT_EXIST", "订单不存在"))
        return number

    def _play(self, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            told = act()
        except WireError as error:
            raise refused(error) from None
        self._courier.wake()
        return told
