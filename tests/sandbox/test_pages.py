"""The payer's page, the levers' refusals, and keys made by many at once."""

import html
import json
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from logistics_svc.carriers.sf import Account, msg_digest
from payment_svc.channels.wechat import WeChat
from payment_svc.channels.wechat_wire import Merchant
from sandbox.keys import provision
from sandbox.testing import Sandbox, sandbox


@pytest.fixture(scope="module")
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with sandbox(tmp_path_factory.mktemp("outside")) as running:
        yield running


@pytest.fixture
async def http(outside: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as client:
        yield client


async def order(outside: Sandbox, http: httpx.AsyncClient, number: str, fen: int) -> str:
    channel = WeChat(
        base_url=outside.url,
        merchant=Merchant.load(outside.keys / "wechat"),
        notify_url="http://127.0.0.1:9/unused",
        client=http,
    )
    placed = await channel.order(
        out_trade_no=number,
        amount_fen=fen,
        description="工本费 <b>&",
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )
    return placed.pay_url


async def test_scan_and_pay_with_plain_forms(outside: Sandbox, http: httpx.AsyncClient) -> None:
    code_url = await order(outside, http, "scan-0001", 8005)
    start = (await http.get("/_sim/wechat/scan")).text
    link = html.unescape(re.search(r'<li><a href="([^"]+)"', start)[1])  # type: ignore[index]
    page = (await http.get(f"/_sim/wechat/scan{link}")).text
    assert "¥80.05" in page
    assert "待支付" in page
    assert "工本费 &lt;b&gt;&amp;" in page
    assert "<script" not in page
    hidden = html.unescape(re.search(r'name="code_url" value="([^"]+)"', page)[1])  # type: ignore[index]
    assert hidden == code_url
    form = {"code_url": hidden, "act": "fail"}
    failed = await http.post("/_sim/wechat/scan", data=form, follow_redirects=True)
    assert "可以重新支付" in failed.text
    form["act"] = "pay"
    paid = await http.post("/_sim/wechat/scan", data=form, follow_redirects=True)
    assert "支付成功" in paid.text
    assert 'value="pay"' not in paid.text
    again = await http.post("/_sim/wechat/scan", data=form, follow_redirects=True)
    assert "支付成功" in again.text
    assert len((await outside.book("wechat"))["payments"]) == 1


async def test_a_strange_code(http: httpx.AsyncClient) -> None:
    answer = await http.get("/_sim/wechat/scan", params={"code_url": '"><script>alert(1)'})
    assert answer.status_code == 404
    assert "<script" not in answer.text
    answer = await http.post("/_sim/wechat/scan", data={"code_url": "x", "act": "pay"})
    assert answer.status_code == 404


async def test_paying_again_changes_nothing(outside: Sandbox, http: httpx.AsyncClient) -> None:
    await order(outside, http, "again-0001", 100)
    first = await outside.sim("wechat/pay", out_trade_no="again-0001")
    assert await outside.sim("wechat/pay", out_trade_no="again-0001") == first
    payments = (await outside.book("wechat"))["payments"]
    assert [p["out_trade_no"] for p in payments].count("again-0001") == 1


async def test_sf_tells_transport_from_business(outside: Sandbox, http: httpx.AsyncClient) -> None:
    account = Account.load(outside.keys / "sf")

    async def call(service: str, data: str, **other: str) -> dict[str, str]:
        form = {
            "partnerID": account.partner_id,
            "requestID": "r1",
            "serviceCode": service,
            "timestamp": "1",
            "msgData": data,
            "msgDigest": msg_digest(data, "1", account.check_word),
        }
        answer = await http.post("/std/service", data=form | other)
        told: dict[str, str] = answer.json()
        return told

    assert (await call("EXP_RECE_SEARCH_ORDER_RESP", "{}", requestID=""))[
        "apiResultCode"
    ] == "A1001"
    assert (await call("EXP_RECE_SEARCH_ORDER_RESP", "[]"))["apiResultCode"] == "A1001"
    assert (await call("EXP_NO_SUCH_SERVICE", "{}"))["apiResultCode"] == "A1004"
    told = await call("EXP_RECE_SEARCH_ORDER_RESP", '{"orderId":"nobody"}')
    assert told["apiResultCode"] == "A1000"
    assert json.loads(told["apiResultData"])["errorCode"] == "8018"
    for bad in ('{"orderId":"o"}', '{"orderId":"o","contactInfoList":[1]}', '{"orderId":7}'):
        told = await call("EXP_RECE_CREATE_ORDER", bad)
        assert json.loads(told["apiResultData"])["success"] is False
    assert (await outside.book("sf"))["orders"] == []


async def test_levers_say_no(http: httpx.AsyncClient) -> None:
    for path, body, status in (
        ("wechat/pay", {"out_trade_no": "nobody"}, 404),
        ("wechat/pay", {}, 404),
        ("wechat/refunds", {"out_refund_no": "nobody"}, 404),
        ("wechat/faults", {"kind": "earthquake"}, 422),
        ("sf/advance", {"order_id": "nobody", "to": "delivered"}, 404),
        ("sf/advance", {"order_id": "nobody", "to": "moon"}, 422),
    ):
        assert (await http.post(f"/_sim/{path}", json=body)).status_code == status, path
    assert (await http.get("/health/live")).json() == {"status": "live"}


def test_keys_made_by_many_at_once_are_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(provision, [tmp_path / "keys"] * 4))
    merchant = Merchant.load(tmp_path / "keys" / "wechat")
    assert merchant.private_key.key_size == 2048
    made = [p.name for p in (tmp_path / "keys").iterdir()]
    parties = {"citizens", "enterprises", "oidc", "sf", "sms", "wechat", "wechat_mini"}
    assert set(made) == {*parties, "platform"}
