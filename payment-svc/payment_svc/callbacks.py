"""What the channels call: verified from the raw bytes, committed, and only then acknowledged."""

import logging
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from kit import crash
from kit.auth import SignedCallback

from . import attempts, notices
from .channels import BadSignature, ChannelError, Trade
from .outside import channel_of
from .refunds import Heard

log = logging.getLogger(__name__)
_NOT_TAKEN: dict[int | str, dict[str, Any]] = {
    401: {"description": "not signed by the channel"},
    404: {"description": "no such order or refund; send it again later"},
    409: {"description": "another amount than ours; send it again later"},
    503: {"description": "cannot be verified now; send it again later"},
}
router = APIRouter(prefix="/callbacks", tags=["callbacks"], responses=_NOT_TAKEN)


@router.post("/wechat", status_code=204)
async def wechat_paid(request: Request, _: SignedCallback) -> Response:
    """WeChat Pay tells of a payment."""
    return await _wechat(request)


@router.post("/wechat/refund", status_code=204)
async def wechat_refunded(request: Request, _: SignedCallback) -> Response:
    """WeChat Pay tells of a refund."""
    return await _wechat(request)


async def _wechat(request: Request) -> Response:
    runtime = request.app.state.runtime
    channel = channel_of(runtime, "wechat")
    body = await request.body()
    try:
        notice = await channel.read_notice(request.headers, body)
    except BadSignature as error:
        if error.probe:
            log.info("wechat tests our check of signatures")
        else:
            log.warning("a call-back in the name of wechat was refused: %s", error)
        return _fail(401, "签名验证失败")
    except ChannelError as error:
        log.warning("a call-back of wechat cannot be read now: %s", type(error).__name__)
        return _fail(503, "暂时无法验证")
    if crash.planted("acknowledge_unread"):
        return Response(status_code=204)
    signed = {k: v for k, v in request.headers.items() if k.startswith("wechatpay-")}
    async with runtime.sessions.begin() as session:
        heard = await notices.take(session, channel.name, notice, headers=signed, body=body)
    crash.point("n1")
    if heard is Heard.MISMATCH and isinstance(notice.told, Trade):
        await attempts.verify(runtime, channel, notice.told.out_trade_no)
    # A failure makes the channel repeat the notice: nothing of it is lost on either side.
    if heard is Heard.MISMATCH:
        return _fail(409, "金额与订单不符")
    if heard is Heard.UNKNOWN:
        return _fail(404, "订单不存在")
    return Response(status_code=204)


def _fail(status: int, message: str) -> Response:
    return JSONResponse({"code": "FAIL", "message": message}, status)
