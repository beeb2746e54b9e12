"""The WeChat Pay adapter against the strict simulator, over a real wire."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from payment_svc.channels import (
    BadSignature,
    Channel,
    Refund,
    RefundState,
    Refused,
    Trade,
    TradeState,
    Unknown,
)
from payment_svc.channels.wechat import Merchant, WeChat
from sandbox.testing import Call, Listener, Sandbox, listening, sandbox

EXPIRES = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)


@pytest.fixture(scope="module")
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with sandbox(tmp_path_factory.mktemp("outside")) as running:
        yield running


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with listening() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


@pytest.fixture
def wechat(outside: Sandbox, listener: Listener, http: httpx.AsyncClient) -> WeChat:
    return build(outside, listener, http)


def build(
    outside: Sandbox, listener: Listener, http: httpx.AsyncClient, timeout: float = 6
) -> WeChat:
    return WeChat(
        base_url=outside.url,
        merchant=Merchant.load(outside.keys / "wechat"),
        notify_url=f"{listener.url}/callbacks/wechat",
        refund_notify_url=f"{listener.url}/callbacks/wechat/refund",
        client=http,
        timeout=timeout,
    )


async def place(channel: Channel, fen: int = 8000) -> str:
    """A new order; its number."""
    number = uuid.uuid4().hex
    await channel.order(
        out_trade_no=number, amount_fen=fen, description="许可证 工本费 a|b", expires_at=EXPIRES
    )
    return number


async def paid(outside: Sandbox, channel: Channel, fen: int = 8000) -> str:
    """A new order that is paid; its number."""
    number = await place(channel, fen)
    await outside.sim("wechat/pay", out_trade_no=number)
    return number


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
    wechat._base_url = "http://127.0.0.1:1"
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


async def notice_of(outside: Sandbox, wechat: WeChat, listener: Listener) -> Call:
    await paid(outside, wechat)
    return (await listener.wait(1))[0]


async def test_a_changed_notice_is_refused(
    outside: Sandbox, wechat: WeChat, listener: Listener
) -> None:
    call = await notice_of(outside, wechat, listener)
    await wechat.read_notice(call.headers, call.body)
    for position in range(0, len(call.body), 37):
        changed = bytearray(call.body)
        changed[position] ^= 1
        with pytest.raises(BadSignature):
            await wechat.read_notice(call.headers, bytes(changed))
    for name in ("timestamp", "nonce", "serial", "signature"):
        header = f"wechatpay-{name}"
        with pytest.raises(BadSignature):
            await wechat.read_notice({**call.headers, header: ""}, call.body)
        with pytest.raises(BadSignature):
            await wechat.read_notice(
                {**call.headers, header: "1" + call.headers[header]}, call.body
            )


@pytest.mark.parametrize("shift", [-300, 300])
async def test_a_stale_notice_is_refused(
    outside: Sandbox, listener: Listener, http: httpx.AsyncClient, shift: int
) -> None:
    call = await notice_of(outside, build(outside, listener, http), listener)
    stamp = int(call.headers["wechatpay-timestamp"])
    later = WeChat(
        base_url=outside.url,
        merchant=Merchant.load(outside.keys / "wechat"),
        notify_url=listener.url,
        client=http,
        now=lambda: float(stamp + shift),
    )
    with pytest.raises(BadSignature, match="stale"):
        await later.read_notice(call.headers, call.body)


async def test_the_platforms_own_test_is_told_apart(
    outside: Sandbox, wechat: WeChat, listener: Listener
) -> None:
    await outside.sim("wechat/notices", signtest=True)
    await paid(outside, wechat)
    probes = 0
    for call in await listener.wait(2):
        try:
            await wechat.read_notice(call.headers, call.body)
        except BadSignature as bad:
            probes += bad.probe
    assert probes == 1


async def test_a_notice_for_another_merchant_is_refused(
    outside: Sandbox, listener: Listener, http: httpx.AsyncClient
) -> None:
    call = await notice_of(outside, build(outside, listener, http), listener)
    ours = Merchant.load(outside.keys / "wechat")
    other = WeChat(
        base_url=outside.url,
        merchant=replace(ours, mchid="1900000001"),
        notify_url=listener.url,
        client=http,
    )
    # The stranger cannot fetch the platform's keys; give them to him for the second question.
    with pytest.raises(Unknown):
        await other.read_notice(call.headers, call.body)
    other._platform = build(outside, listener, http)._platform
    with pytest.raises(BadSignature, match="another merchant"):
        await other.read_notice(call.headers, call.body)


async def test_copies_of_a_notice_have_one_id(
    outside: Sandbox, wechat: WeChat, listener: Listener
) -> None:
    await outside.sim("wechat/notices", copies=2)
    await paid(outside, wechat)
    ids = {
        (await wechat.read_notice(call.headers, call.body)).id for call in await listener.wait(3)
    }
    assert len(ids) == 1


async def test_a_notice_is_repeated_until_it_is_taken(
    outside: Sandbox, wechat: WeChat, listener: Listener
) -> None:
    listener.reply = lambda _: (204, b"") if len(listener.calls) > 3 else (500, b"")
    number = await paid(outside, wechat)
    calls = await listener.wait(4)
    assert len({(await wechat.read_notice(c.headers, c.body)).id for c in calls}) == 1
    book = await outside.book("wechat")
    (row,) = [n for n in book["notices"] if n["out_trade_no"] == number]
    assert row["tries"] >= 3


async def test_a_dropped_notice_is_found_by_asking(
    outside: Sandbox, wechat: WeChat, listener: Listener
) -> None:
    await outside.sim("wechat/notices", drop=True)
    number = await paid(outside, wechat)
    assert (await wechat.query(number)).state is TradeState.PAID
    assert listener.calls == []
    assert await outside.sim("wechat/notices/resend", out_trade_no=number) == {"notices": 1}
    await listener.wait(1)


async def test_unknown_serials_cost_at_most_one_call(
    outside: Sandbox, listener: Listener, http: httpx.AsyncClient
) -> None:
    asked: list[str] = []

    async def count(request: httpx.Request) -> None:
        asked.append(request.url.path)

    http.event_hooks["request"].append(count)
    wechat = build(outside, listener, http)
    call = await notice_of(outside, wechat, listener)
    asked.clear()
    for n in range(5):
        forged = {**call.headers, "wechatpay-serial": f"ABCDEF{n}"}
        with pytest.raises(BadSignature):
            await wechat.read_notice(forged, call.body)
    assert asked.count("/v3/certificates") <= 1


async def test_rotation_of_the_platform_key(outside: Sandbox, listener: Listener) -> None:
    clock = [0.0]
    async with httpx.AsyncClient(trust_env=False) as http:
        wechat = WeChat(
            base_url=outside.url,
            merchant=Merchant.load(outside.keys / "wechat"),
            notify_url=f"{listener.url}/callbacks/wechat",
            client=http,
            now=lambda: clock[0] + time.time(),
        )
        await place(wechat)
        await outside.sim("wechat/rotate", retire=True)
        # A new key right after a fetch: for ten seconds nothing from it is believed.
        with pytest.raises(BadSignature):
            await wechat.query("any-number")
        clock[0] = 11
        assert (await wechat.query("any-number")).state is TradeState.ABSENT


async def test_wrong_merchant_key_is_refused(
    outside: Sandbox, listener: Listener, http: httpx.AsyncClient
) -> None:
    ours = Merchant.load(outside.keys / "wechat")
    wechat = WeChat(
        base_url=outside.url,
        merchant=replace(ours, private_key=generate_private_key(65537, 2048)),
        notify_url=listener.url,
        client=http,
    )
    with pytest.raises(Refused) as refused:
        await place(wechat)
    assert refused.value.code == "SIGN_ERROR"


def test_merchant_files_are_checked(outside: Sandbox, tmp_path: Path) -> None:
    for name in ("merchant.json", "merchant_key.pem"):
        (tmp_path / name).write_bytes((outside.keys / "wechat" / name).read_bytes())
    (tmp_path / "apiv3_key").write_text("short")
    with pytest.raises(ValueError, match="32 bytes"):
        Merchant.load(tmp_path)
    assert "BEGIN" not in repr(Merchant.load(outside.keys / "wechat"))
    assert json.loads((tmp_path / "merchant.json").read_text())["mchid"]
