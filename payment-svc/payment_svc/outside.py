"""The payment channels that this installation has: opened at the start, picked by name."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from kit.errors import Unavailable
from kit.http import open_client
from kit.runtime import Runtime

from .channels import Channel
from .channels.wechat import WeChat
from .channels.wechat_wire import Merchant
from .settings import Settings, settings_of

METHODS = {"wechat_native": "wechat"}
"""What a payer picks, and the channel that does it."""


@contextlib.asynccontextmanager
async def open_channels(runtime: Runtime) -> AsyncIterator[None]:
    """Open what the settings name. In production a service without any channel does not start."""
    settings = settings_of(runtime)
    channels: dict[str, Channel] = {}
    runtime.parts["channels"] = channels
    info = {**runtime.sessions.kw.get("info", {}), "order_life": _order_life(settings)}
    runtime.sessions.configure(info=info)
    async with contextlib.AsyncExitStack() as stack:
        if settings.wechat_keys is not None:
            client = open_client(settings.wechat_base_url, peer="wechat")
            stack.push_async_callback(client.aclose)
            base = settings.wechat_notify_url.rstrip("/")
            channels["wechat"] = WeChat(
                base_url=settings.wechat_base_url,
                merchant=_merchant(settings),
                notify_url=f"{base}/callbacks/wechat",
                refund_notify_url=f"{base}/callbacks/wechat/refund",
                client=client,
                timeout=settings.wechat_timeout,
            )
        elif settings.environment == "production":
            raise SystemExit(
                "没有任何支付渠道。请设置 BEAM_WECHAT_KEYS。"
                " / There is no payment channel: set BEAM_WECHAT_KEYS."
            )
        yield


def _order_life(settings: Settings) -> timedelta:
    return timedelta(minutes=settings.payment_order_minutes)


def _merchant(settings: Settings) -> Merchant:
    assert settings.wechat_keys is not None
    merchant = Merchant.load(settings.wechat_keys)
    for wanted, found in (
        (settings.wechat_mchid, merchant.mchid),
        (settings.wechat_appid, merchant.appid),
    ):
        if wanted and wanted != found:
            raise SystemExit(
                "BEAM_WECHAT_KEYS 中的密钥不属于所配置的商户。"
                " / The keys in BEAM_WECHAT_KEYS belong to another merchant or app."
            )
    return merchant


def channel_of(runtime: Runtime, name: str) -> Channel:
    """Raises Unavailable (503) when this installation does not have the channel."""
    channels: dict[str, Channel] = runtime.parts["channels"]
    if name not in channels:
        raise Unavailable(
            "该支付方式暂未开通,请换一种方式。",
            "This way to pay is not available here; choose another one.",
            retry_after=60,
        )
    return channels[name]
