"""What can be configured of the sandbox: environment variables `BEAM_SANDBOX_…`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix="BEAM_SANDBOX_")

    host: str = Field(default="127.0.0.1", description="where it listens")
    port: int = Field(default=8090, description="where it listens")
    base_url: str = Field(
        default="http://127.0.0.1:8090", description="our own address, as printed on the scan page"
    )
    data: Path = Field(default=Path(".data/sandbox"), description="folder of the book")
    keys: Path = Field(default=Path(".data/keys"), description="folder of all generated keys")
    sf_push_url: str = Field(
        default="",
        description="where SF pushes routes; the secret path token is appended. Empty: no pushes",
    )
    retry_factor: float = Field(
        default=1.0, gt=0, description="multiplies every pause between two deliveries"
    )
    oidc_redirect_uri: str = Field(
        default="http://127.0.0.1:8000/oauth2/upstream/callback",
        description="the one address to which the OpenID provider sends people back",
    )
    refund_seconds: float = Field(
        default=2.0, ge=0, description="how long a WeChat refund stays PROCESSING"
    )
    hang_seconds: float = Field(
        default=30.0, gt=0, description="how long a simulated time-out keeps the caller waiting"
    )
    sf_step_seconds: float = Field(
        default=0.0,
        ge=0,
        description="if above 0, every parcel moves on by itself, one step each so many seconds",
    )
    magic_step_seconds: float = Field(
        default=1.0, ge=0, description="the same for parcels to a magic telephone number"
    )
