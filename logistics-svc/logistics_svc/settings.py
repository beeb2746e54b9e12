"""What can be configured in logistics-svc."""

from pathlib import Path

from kit.settings import ServiceSettings


class Settings(ServiceSettings):
    service: str = "logistics"
    sf_base_url: str = "http://127.0.0.1:8010"
    sf_keys: Path | None = None
    """Folder with SF's `account.json` (partner id, check word, monthly card, push token)."""
    sender_name: str = "政务服务中心出件处"
    """Who sends the parcels, as the courier prints it."""
    sender_mobile: str = "13800000009"
    """Telephone of the sender."""
    sender_province: str = "上海市"
    """Address of the sender."""
    sender_city: str = "上海市"
    """Address of the sender."""
    sender_county: str = "浦东新区"
    """Address of the sender."""
    sender_address: str = "合欢路2号"
    """Address of the sender: street and number."""
    place_retry_seconds: float = 2.0
    """Pause before an order of unknown outcome is placed again; doubles up to a minute."""
    poll_minutes: float = 30.0
    """How long a parcel may be silent before the carrier is asked."""
