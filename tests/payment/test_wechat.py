"""The WeChat Pay adapter against the strict simulator, over a real wire."""

import uuid
from datetime import UTC, datetime

import httpx
import pytest

from payment_svc.channels import (
    Channel,
    Refund,
    RefundState,
    Refused,
    Trade,
    TradeState,
    Unknown,
)
from payment_svc.channels.wechat import WeChat
from sandbox.testing import Listener, Sandbox

from .wechat_stage import (  # noqa: F401  fixtures are taken by name
    EXPIRES,
    build,
    http,
    listener,
    outside,
    paid,
    place,
    wechat,
)


async def test_an_order_is_placed_paid_and_told(
    outside: Sandbox, wechat: WeChat, listener: Listener
) -> None:
    number = uuid.uuid4().hex
    first = await wechat.order(
        out_trade_no=number, amount_fen=8000, description="工本费", expires_at=EXPIRES
    )
    again = await wechat.order(
        out_trade_no=number, amount_fen=8000, description="工本费", expires_at=EXPIRES
    )
    assert first == again
    assert first.pay_url.startswith("weixin://")
    assert await wechat.query(number) == Trade(number, TradeState.OPEN)
    await outside.sim("wechat/pay", code_url=first.pay_url)

    call = (await listener.wait(1))[0]
    notice = await wechat.read_notice(call.headers, call.body)
    assert call.path == "/callbacks/wechat"
    assert notice.told == await wechat.query(number)
    assert isinstance(notice.told, Trade)
    assert notice.told.paid is not None
    assert notice.told.paid.amount_fen == 8000
    assert abs((notice.told.paid.paid_at - datetime.now(UTC)).total_seconds()) < 60
    book = await outside.book("wechat")
    assert [p["total"] for p in book["payments"] if p["out_trade_no"] == number] == [8000]


async def test_other_arguments_under_the_same_number_are_refused(wechat: WeChat) -> None:
    number = await place(wechat)
    with pytest.raises(Refused) as refused:
        await wechat.order(
            out_trade_no=number, amount_fen=8001, description="工本费", expires_at=EXPIRES
        )
    assert refused.value.code == "INVALID_REQUEST"


async def test_unknown_numbers_are_absent(wechat: WeChat) -> None:
    assert await wechat.query("never-placed") == Trade("never-placed", TradeState.ABSENT)
    assert (await wechat.query_refund("never|asked*for")).state is RefundState.ABSENT


async def test_closing_twice_is_fine_but_not_what_is_paid(outside: Sandbox, wechat: WeChat) -> None:
    number = await place(wechat)
    await wechat.close(number)
    await wechat.close(number)
    assert (await wechat.query(number)).state is TradeState.CLOSED
    with pytest.raises(httpx.HTTPStatusError):
        await outside.sim("wechat/pay", out_trade_no=number)
    with pytest.raises(Refused):
        await wechat.close(await paid(outside, wechat))


async def test_an_order_whose_time_is_over_is_closed(outside: Sandbox, wechat: WeChat) -> None:
    number = await place(wechat)
    await outside.sim("wechat/expire", out_trade_no=number)
    assert (await wechat.query(number)).state is TradeState.CLOSED


async def test_refunds_in_parts_and_never_too_much(
    outside: Sandbox, wechat: WeChat, listener: Listener
) -> None:
    number = await paid(outside, wechat, 1000)
    refund_no = uuid.uuid4().hex
    first = await refund(wechat, number, refund_no, 600)
    assert (first.state, first.amount_fen) == (RefundState.PROCESSING, 600)
    assert (await refund(wechat, number, refund_no, 600)).refund_id == first.refund_id
    with pytest.raises(Refused):
        await refund(wechat, number, uuid.uuid4().hex, 401)

    call = (await listener.wait(2))[1]
    notice = await wechat.read_notice(call.headers, call.body)
    assert call.path == "/callbacks/wechat/refund"
    assert notice.told == await wechat.query_refund(refund_no)
    assert isinstance(notice.told, Refund)
    assert notice.told.state is RefundState.SUCCEEDED
    assert notice.told.succeeded_at is not None
    trade = await wechat.query(number)
    assert trade.state is TradeState.PAID, "a refunded payment was still a payment"


async def refund(channel: Channel, number: str, refund_no: str, fen: int) -> Refund:
    return await channel.refund(
        out_trade_no=number,
        out_refund_no=refund_no,
        amount_fen=fen,
        total_fen=1000,
        reason="撤回申请",
    )


async def test_a_refund_that_the_bank_refuses(outside: Sandbox, wechat: WeChat) -> None:
    number, refund_no = await paid(outside, wechat, 1000), uuid.uuid4().hex
    await refund(wechat, number, refund_no, 1000)
    await outside.sim("wechat/refunds", out_refund_no=refund_no, outcome="ABNORMAL")
    assert (await wechat.query_refund(refund_no)).state is RefundState.ABNORMAL


@pytest.mark.parametrize(
    ("kind", "moment", "state"),
    [
        ("500", "before", TradeState.ABSENT),
        ("500", "after", TradeState.OPEN),
        ("timeout", "before", TradeState.ABSENT),
        ("timeout", "after", TradeState.OPEN),
    ],
)
async def test_an_unknown_outcome_is_resolved_by_asking(
    outside: Sandbox,
    listener: Listener,
    http: httpx.AsyncClient,
    kind: str,
    moment: str,
    state: TradeState,
) -> None:
    wechat = build(outside, listener, http, timeout=0.7)
    number = uuid.uuid4().hex
    await outside.sim("wechat/faults", call="order", kind=kind, moment=moment)
    with pytest.raises(Unknown):
        await order(wechat, number, 8000)
    assert (await wechat.query(number)).state is state
    await order(wechat, number, 8000)
    assert (await wechat.query(number)).state is TradeState.OPEN


async def test_an_answer_that_cannot_be_checked_is_unknown_not_refused(
    outside: Sandbox, wechat: WeChat
) -> None:
    number = uuid.uuid4().hex
    await outside.sim("wechat/faults", call="certificates", kind="429")
    with pytest.raises(Unknown):
        await order(wechat, number, 8000)
    book = await outside.book("wechat")
    assert number in [row["out_trade_no"] for row in book["orders"]], "it did take effect"


async def order(channel: Channel, number: str, fen: int) -> None:
    await channel.order(
        out_trade_no=number, amount_fen=fen, description="工本费", expires_at=EXPIRES
    )


async def test_nobody_there_is_unknown(listener: Listener, wechat: WeChat) -> None:
    wechat._wire.base_url = "http://127.0.0.1:1"
    with pytest.raises(Unknown):
        await wechat.query("any-number")


async def test_too_many_calls_are_refused(outside: Sandbox, wechat: WeChat) -> None:
    await outside.sim("wechat/faults", call="query", kind="429")
    with pytest.raises(Refused) as refused:
        await wechat.query("any-number")
    assert refused.value.code == "FREQUENCY_LIMITED"


async def test_magic_amounts(outside: Sandbox, listener: Listener, http: httpx.AsyncClient) -> None:
    wechat = build(outside, listener, http, timeout=0.7)
    assert (await wechat.query(await paid(outside, wechat, 402))).state is TradeState.FAILED

    number = uuid.uuid4().hex
    with pytest.raises(Unknown):
        await order(wechat, number, 404)
    await order(wechat, number, 404)
    assert (await wechat.query(number)).state is TradeState.OPEN

    await paid(outside, wechat, 409)
    calls = await listener.wait(2)
    told = [(await wechat.read_notice(c.headers, c.body)).told for c in calls]
    assert all(isinstance(t, Trade) and t.paid and t.paid.amount_fen == 409 for t in told)
    numbers = {t.paid.transaction_id for t in told if isinstance(t, Trade) and t.paid}
    assert len(numbers) == 2
    for transaction_id in numbers:
        back = await wechat.refund(
            out_trade_no="unused",
            out_refund_no=uuid.uuid4().hex,
            amount_fen=409,
            total_fen=409,
            reason="重复支付",
            transaction_id=transaction_id,
        )
        assert back.state is RefundState.PROCESSING
