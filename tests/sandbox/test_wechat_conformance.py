"""Somebody else's client must accept our WeChat Pay: wechatpayv3, an independent SDK."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from wechatpayv3 import WeChatPay, WeChatPayType

from sandbox import keys
from sandbox.keys import provision
from sandbox.testing import Listener, Sandbox, listening, sandbox

Ask = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture(scope="module")
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with sandbox(tmp_path_factory.mktemp("outside")) as running:
        yield running


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with listening() as running:
        yield running


def sdk(outside: Sandbox, tmp: Path, keys_from: Path | None = None) -> WeChatPay:
    """The foreign client in certificate mode, with the platform certificate on its disk."""
    folder = (keys_from or outside.keys) / "wechat"
    facts = json.loads((outside.keys / "wechat" / "merchant.json").read_text())
    certificates = tmp / "certificates"
    certificates.mkdir(exist_ok=True)
    for entry in keys.read_wechat(outside.keys).platform:
        (certificates / f"{entry.serial_no}.pem").write_bytes(entry.pem)
    client = WeChatPay(
        wechatpay_type=WeChatPayType.NATIVE,
        mchid=facts["mchid"],
        private_key=(folder / "merchant_key.pem").read_text(),
        cert_serial_no=facts["serial_no"],
        apiv3_key=(outside.keys / "wechat" / "apiv3_key").read_text(),
        appid=facts["appid"],
        notify_url="http://127.0.0.1:9/unused",
        cert_dir=str(certificates),
        timeout=(5, 10),
    )
    client._core._gate_way = outside.url
    return client


@pytest.fixture
def ask(outside: Sandbox, tmp_path: Path) -> Ask:
    """Call a method of the foreign client: status and parsed body."""
    client = sdk(outside, tmp_path)

    async def call(method: str, **arguments: Any) -> tuple[int, Any]:
        status, text = await asyncio.to_thread(getattr(client, method), **arguments)
        return status, json.loads(text) if text else None

    return call


def order(number: str, fen: int, url: str = "http://127.0.0.1:9/unused") -> dict[str, Any]:
    return {
        "description": "食品经营许可 工本费",
        "out_trade_no": number,
        "amount": {"total": fen},
        "notify_url": url,
    }


async def test_order_reentry_query_and_close(ask: Ask) -> None:
    status, placed = await ask("pay", **order("conform-1", 8000))
    assert (status, placed["code_url"][:26]) == (200, "weixin://wxpay/bizpayurl?p")
    assert await ask("pay", **order("conform-1", 8000)) == (200, placed)
    status, told = await ask("pay", **order("conform-1", 8001))
    assert (status, told["code"]) == (400, "INVALID_REQUEST")

    status, told = await ask("query", out_trade_no="conform-1")
    assert (status, told["trade_state"], told["amount"]["total"]) == (200, "NOTPAY", 8000)
    status, told = await ask("query", out_trade_no="conform-none")
    assert (status, told["code"]) == (404, "ORDER_NOT_EXIST")

    assert await ask("close", out_trade_no="conform-1") == (204, None)
    assert (await ask("query", out_trade_no="conform-1"))[1]["trade_state"] == "CLOSED"
    assert (await ask("pay", **order("conform-1", 8000)))[1]["code"] == "ORDER_CLOSED"


async def test_notify_is_decrypted_and_a_tampered_one_is_not(
    outside: Sandbox, ask: Ask, listener: Listener, tmp_path: Path
) -> None:
    await ask("pay", **order("conform-2", 5000, f"{listener.url}/notify"))
    await outside.sim("wechat/pay", out_trade_no="conform-2")
    call = (await listener.wait(1))[0]
    client = sdk(outside, tmp_path)
    notice = client.callback(call.headers, call.body)
    assert notice["event_type"] == "TRANSACTION.SUCCESS"
    assert notice["resource"]["out_trade_no"] == "conform-2"
    assert notice["resource"]["amount"]["total"] == 5000
    assert not client.callback(call.headers, call.body.replace(b"TRANSACTION", b"TRANSACTIOM"))


async def test_partial_refunds_are_summed_and_notified(
    outside: Sandbox, ask: Ask, listener: Listener, tmp_path: Path
) -> None:
    await ask("pay", **order("conform-3", 1000, f"{listener.url}/notify"))
    early = await ask("refund", **refund("conform-3", "r-early", 1, 1000))
    assert (early[0], early[1]["code"]) == (400, "INVALID_REQUEST")
    await outside.sim("wechat/pay", out_trade_no="conform-3")
    await listener.wait(1)

    first = {**refund("conform-3", "r-1", 600, 1000), "notify_url": f"{listener.url}/refund"}
    status, told = await ask("refund", **first)
    assert (status, told["status"]) == (200, "PROCESSING")
    again = await ask("refund", **first)
    assert again[1]["refund_id"] == told["refund_id"]
    status, changed = await ask("refund", **{**first, "reason": "别的"})
    assert (status, changed["code"]) == (400, "INVALID_REQUEST")
    status, over = await ask("refund", **refund("conform-3", "r-2", 401, 1000))
    assert (status, over["code"]) == (400, "INVALID_REQUEST")
    status, _ = await ask("refund", **refund("conform-3", "r-3", 400, 1000))
    assert status == 200

    call = (await listener.wait(2))[1]
    notice = sdk(outside, tmp_path).callback(call.headers, call.body)
    assert (call.path, notice["event_type"]) == ("/refund", "REFUND.SUCCESS")
    assert notice["resource"]["amount"]["refund"] == 600
    status, told = await ask("query_refund", out_refund_no="r-1")
    assert (status, told["status"]) == (200, "SUCCESS")
    assert (await ask("query", out_trade_no="conform-3"))[1]["trade_state"] == "REFUND"
    status, told = await ask("query_refund", out_refund_no="r-none")
    assert (status, told["code"]) == (404, "RESOURCE_NOT_EXISTS")


def refund(number: str, refund_no: str, fen: int, total: int) -> dict[str, Any]:
    return {
        "out_refund_no": refund_no,
        "out_trade_no": number,
        "reason": "重复缴费",
        "amount": {"refund": fen, "total": total, "currency": "CNY"},
    }


async def test_a_stranger_is_refused(outside: Sandbox, tmp_path: Path) -> None:
    provision(tmp_path / "other")
    stranger = sdk(outside, tmp_path, tmp_path / "other")
    status, text = await asyncio.to_thread(stranger.query, out_trade_no="conform-1")
    assert (status, json.loads(text)["code"]) == (401, "SIGN_ERROR")


async def test_a_new_platform_key_is_found_by_its_serial(outside: Sandbox, tmp_path: Path) -> None:
    client = sdk(outside, tmp_path)
    before = len(client._core._certificates)
    await outside.sim("wechat/rotate", retire=False)
    status, _ = await asyncio.to_thread(client.pay, **order("conform-4", 100))
    assert status == 200
    assert len(client._core._certificates) == before + 1
