"""What can be configured of payment-svc. Money is integer fen, lives are minutes."""

from pathlib import Path

from kit.runtime import Runtime
from kit.settings import ServiceSettings


class Settings(ServiceSettings):
    """Besides the common ones: BEAM_WECHAT_… and BEAM_PAYMENT_…"""

    service: str = "payment"
    wechat_base_url: str = "https://api.mch.weixin.qq.com"
    wechat_keys: Path | None = None
    """Folder with merchant.json, merchant_key.pem and apiv3_key. None: no WeChat Pay."""
    wechat_mchid: str = ""
    """Our number as a merchant; as `wechat_appid`."""
    wechat_appid: str = ""
    """When set, the key folder must belong to this merchant and app: guards against a mix-up."""
    wechat_notify_url: str = "http://127.0.0.1:8000"
    """Public address of the beam; call-backs go to `/callbacks/wechat` under it."""
    wechat_timeout: float = 6.0
    """Seconds for one call to WeChat Pay."""
    payment_order_minutes: float = 7 * 24 * 60
    """How long a fee can be paid."""
    payment_attempt_minutes: float = 110
    """How long one QR code can be paid; WeChat Pay's own limit is two hours."""
    payment_reconcile_days: int = 7
    """How many days of a channel are reconciled in one go when some were missed; the rest a minute
    later."""
    payment_tempo: float = 1.0
    """Factor on all pauses between queries to a channel; smaller only in tests and demos."""


def settings_of(runtime: Runtime) -> Settings:
    """The service's own settings of a running service."""
    settings = runtime.settings
    assert isinstance(settings, Settings)
    return settings
