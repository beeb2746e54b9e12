"""What the outside has said is true after a kill at any moment; what it owes is delivered later."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from payment_svc.channels import Trade, TradeState
from payment_svc.channels.wechat import WeChat
from payment_svc.channels.wechat_wire import Merchant
from sandbox.testing import Call, Reply, Sandbox, listening


async def test_book_and_owed_notice_survive_a_kill(tmp_path: Path) -> None:
    outside = Sandbox(tmp_path)
    await outside.start()
    async with listening(lambda _: (500, b"")) as deaf, httpx.AsyncClient() as http:
        port = deaf.port
        channel = WeChat(
            base_url=outside.url,
            merchant=Merchant.load(outside.keys / "wechat"),
            notify_url=f"{deaf.url}/callbacks/wechat",
            client=http,
        )
        number = uuid.uuid4().hex
        await channel.order(
            out_trade_no=number,
            amount_fen=8000,
            description="工本费",
            expires_at=datetime.now(UTC) + timedelta(hours=1),
        )
        await outside.sim("wechat/pay", out_trade_no=number)
        await deaf.wait(2)
        outside.kill()
        await outside.start()
        try:
            book = await outside.book("wechat")
            assert [row["state"] for row in book["orders"]] == ["SUCCESS"]
            assert [row["total"] for row in book["payments"]] == [8000]
            assert book["notices"][0]["state"] == "waiting"
            deaf.reply = accept
            tries = len(deaf.calls)
            told = None
            for call in (await deaf.wait(tries + 1))[tries:]:
                told = (await channel.read_notice(call.headers, call.body)).told
            assert isinstance(told, Trade)
            assert (told.out_trade_no, told.state) == (number, TradeState.PAID)
            assert port == deaf.port
        finally:
            outside.kill()


def accept(_: Call) -> Reply:
    return 204, b""


async def test_a_request_cannot_be_replayed_even_after_a_kill(tmp_path: Path) -> None:
    outside = Sandbox(tmp_path)
    await outside.start()
    try:
        sent: list[httpx.Request] = []

        async def keep(request: httpx.Request) -> None:
            sent.append(request)

        async with httpx.AsyncClient(event_hooks={"request": [keep]}) as http:
            channel = WeChat(
                base_url=outside.url,
                merchant=Merchant.load(outside.keys / "wechat"),
                notify_url="http://127.0.0.1:9/x",
                client=http,
            )
            assert (await channel.query("never-placed")).state is TradeState.ABSENT
            genuine = next(r for r in sent if "out-trade-no" in r.url.path)
            outside.kill()
            await outside.start()
            replayed = await http.send(genuine)
            assert (replayed.status_code, replayed.json()["code"]) == (401, "SIGN_ERROR")
    finally:
        outside.kill()


@pytest.mark.parametrize("folder", ["wechat", "sf", "platform"])
def test_keys_are_private_and_made_once(tmp_path: Path, folder: str) -> None:
    outside = Sandbox(tmp_path)
    home = outside.keys / folder
    before = {file.name: file.read_bytes() for file in home.iterdir()}
    assert before
    assert {file.stat().st_mode & 0o777 for file in home.iterdir()} == {0o600}
    assert Sandbox(tmp_path).keys == outside.keys
    assert {file.name: file.read_bytes() for file in home.iterdir()} == before
