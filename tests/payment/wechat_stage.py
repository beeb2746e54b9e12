"""The adapter, the strict simulator and a receiver of its notices, for the tests of both."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from payment_svc.channels import (
    Channel,
)
from payment_svc.channels.wechat import WeChat
from payment_svc.channels.wechat_wire import Merchant
from sandbox.testing import Listener, Sandbox, listening, sandbox

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
        bill_timeout=timeout,
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
