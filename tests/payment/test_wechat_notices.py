"""Notices of WeChat Pay: believed only when everything about them fits."""

import json
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from payment_svc.channels import (
    BadSignature,
    Refused,
    TradeState,
    Unknown,
)
from payment_svc.channels.wechat import WeChat
from payment_svc.channels.wechat_wire import Merchant
from sandbox.testing import Call, Listener, Sandbox

from .wechat_stage import (  # noqa: F401  fixtures are taken by name
    build,
    http,
    listener,
    outside,
    paid,
    place,
    wechat,
)


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
    other._wire._platform = build(outside, listener, http)._wire._platform
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
