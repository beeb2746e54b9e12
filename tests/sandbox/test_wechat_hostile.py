"""No malformed call is a 500 at WeChat Pay, and none of them leaves a trace."""

import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from payment_svc.channels.wechat_keys import authorization
from payment_svc.channels.wechat_wire import Merchant
from sandbox.testing import Sandbox, sandbox


@pytest.fixture(scope="module")
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with sandbox(tmp_path_factory.mktemp("outside")) as running:
        yield running


def good(outside: Sandbox) -> dict[str, object]:
    merchant = Merchant.load(outside.keys / "wechat")
    return {
        "appid": merchant.appid,
        "mchid": merchant.mchid,
        "description": "工本费",
        "out_trade_no": "hostile-1",
        "notify_url": "http://127.0.0.1:9/x",
        "amount": {"total": 100, "currency": "CNY"},
    }


WRONG: list[dict[str, object]] = [
    {"appid": "wx"},
    {"mchid": "1"},
    {"mchid": 1},
    {"description": ""},
    {"description": "长" * 128},
    {"description": None},
    {"description": "\ud800"},
    {"out_trade_no": "short"},
    {"out_trade_no": "x" * 33},
    {"out_trade_no": "with space"},
    {"out_trade_no": "hostile-1\n"},
    {"out_trade_no": ["hostile"]},
    {"notify_url": "ftp://x/y"},
    {"notify_url": "/callbacks"},
    {"notify_url": "http://x/y?z=1"},
    {"amount": 100},
    {"amount": {"total": 0}},
    {"amount": {"total": -1}},
    {"amount": {"total": True}},
    {"amount": {"total": 1.5}},
    {"amount": {"total": "100"}},
    {"amount": {"total": 10**11}},
    {"amount": {"total": 100, "currency": "USD"}},
    {"time_expire": "tomorrow"},
    {"time_expire": "2020-01-01T00:00:00+08:00"},
    {"time_expire": "2999-01-01T00:00:00"},
    {"time_expire": 5},
]


async def post(
    outside: Sandbox, body: bytes, path: str = "/v3/pay/transactions/native"
) -> httpx.Response:
    merchant = Merchant.load(outside.keys / "wechat")
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as http:
        request = http.build_request("POST", path, content=body)
        request.headers["Content-Type"] = "application/json"
        request.headers["Authorization"] = authorization(
            merchant.mchid,
            merchant.serial_no,
            merchant.private_key,
            "POST",
            request.url.raw_path,
            body,
            time.time(),
        )
        return await http.send(request)


async def test_bad_orders(outside: Sandbox) -> None:
    for change in WRONG:
        answer = await post(outside, json.dumps({**good(outside), **change}).encode())
        assert answer.status_code == 400, change
        assert answer.json()["code"] in (
            "PARAM_ERROR",
            "INVALID_REQUEST",
            "APPID_MCHID_NOT_MATCH",
        )
        assert "Wechatpay-Signature" in answer.headers
    for body in (b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"null"):
        assert (await post(outside, body)).status_code == 400, body[:10]
    for body in (b"{}", b'{"out_refund_no":"r","out_trade_no":"x","transaction_id":"y"}'):
        answer = await post(outside, body, "/v3/refund/domestic/refunds")
        assert answer.json()["code"] == "PARAM_ERROR"
    assert (await outside.book("wechat"))["orders"] == []


async def test_one_changed_byte_is_refused(outside: Sandbox) -> None:
    """The signature covers method, path, query and body."""
    merchant = Merchant.load(outside.keys / "wechat")
    body = json.dumps(good(outside)).encode()

    def signed(method: str, path: str, content: bytes) -> str:
        now = time.time()
        return authorization(
            merchant.mchid, merchant.serial_no, merchant.private_key, method, path.encode(),
            content, now,
        )  # fmt: skip

    path = "/v3/pay/transactions/native"
    genuine = signed("POST", path, body)
    forged = [
        signed("GET", path, body),
        signed("POST", path + "?a=1", body),
        signed("POST", path, body + b" "),
        genuine.replace(merchant.mchid, "1900000001"),
        genuine.replace(merchant.serial_no, "AB"),
        genuine.replace("WECHATPAY2-SHA256-RSA2048", "WECHATPAY2-SM2-WITH-SM3"),
        genuine + ',mchid="1"',
        genuine.partition(",")[0],
        "",
    ]
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as http:
        for header in forged:
            headers = {"Authorization": header, "Content-Type": "application/json"}
            answer = await http.post(path, content=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "SIGN_ERROR"), header[:60]
            assert "Wechatpay-Signature" not in answer.headers
    assert (await outside.book("wechat"))["orders"] == []
