"""What can be configured at the beam. All from the environment, prefix `BEAM_`."""

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kit.peers import Peers

from .table import SERVICES


class GatewaySettings(BaseSettings):
    """Addresses of the eight services, time-outs and limits of the door. Its secrets
    are the password at the broker and that of its client at identity."""

    model_config = SettingsConfigDict(env_prefix="BEAM_", extra="ignore", frozen=True)

    service: Literal["gateway"] = "gateway"
    """Fixed."""
    environment: Literal["development", "test", "production"] = "production"
    """As the services' own setting."""
    gateway_host: str = "127.0.0.1"
    """Where it listens."""
    gateway_port: int = Field(8000, ge=0, le=65535)
    """Where it listens."""
    issuer: str = "http://127.0.0.1:8000"
    """Public address of the beam: the `iss` of every token."""
    jwks_url: str = "http://127.0.0.1:8001/.well-known/jwks.json"
    """Where identity lays out the keys that tokens are signed with."""

    service_secret: SecretStr = SecretStr("")
    """Secret of the client `svc-gateway`: with its token we ask the services for a caller whose own
    token is bound to a key. Unset: such callers cannot be answered at our own addresses."""
    token_url: str = "http://127.0.0.1:8001/oauth2/token"
    """Where it gets its own tokens."""

    nats_url: str = ""
    """Where revoked tokens are told of, and changes of the catalogue; empty: tokens are good until
    they end, and nothing is cached."""
    nats_user: str = ""
    """Its account at the broker."""
    nats_password: SecretStr = SecretStr("")
    """Of that account."""
    nats_replicas: int = Field(1, ge=1, le=5)
    """On how many servers of a NATS cluster the stream of events is kept, where the gateway is the
    first to need it; as the services' own setting."""

    identity_url: str = "http://127.0.0.1:8001"
    catalog_url: str = "http://127.0.0.1:8002"
    case_url: str = "http://127.0.0.1:8003"
    licence_url: str = "http://127.0.0.1:8004"
    payment_url: str = "http://127.0.0.1:8005"
    logistics_url: str = "http://127.0.0.1:8006"
    helpdesk_url: str = "http://127.0.0.1:8007"
    exchange_url: str = "http://127.0.0.1:8008"

    gateway_rate: float = Field(100.0, ge=0)
    """Requests a second that one client may make for long; 0 switches the limit off."""
    gateway_burst: int = Field(200, ge=1)
    """Requests that one client may make at once."""
    gateway_cors_origins: tuple[str, ...] = ()
    """Web pages of other origins (`https://app.example`) that may call us from a browser."""
    gateway_hsts_seconds: int = Field(31_536_000, ge=0)
    """`Strict-Transport-Security` where the issuer is https; 0: leave it to the proxy."""
    gateway_trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks (10.1.2.0/24) of proxies in front of us whose last
    `X-Forwarded-For` entry is believed."""
    gateway_metrics_host: str = "127.0.0.1"
    """Where /metrics is served."""
    gateway_metrics_port: int | None = Field(None, ge=0, le=65535)
    """Port of /metrics, for the house only; nothing is served when unset."""

    traces: str = ""
    """Where spans go, see kit.traces: `file:///…` or `http://…/v1/traces`; nowhere when empty."""
    traces_ratio: float = Field(1.0, ge=0, le=1)
    """Share of the traces that are kept."""

    gateway_cache_bytes: int = Field(16 * 1024 * 1024, ge=0)
    """Most that is kept of the catalogue's public answers; 0: nothing."""

    gateway_head_seconds: float = 10.0
    """Time a client has for a whole request head."""
    gateway_body_seconds: float = 10.0
    """Time a client has for every further 4 KiB of a body."""
    gateway_idle_seconds: float = 75.0
    """Time a kept connection may lie idle."""
    gateway_write_seconds: float = 30.0
    """Time a client may leave an answer unread."""
    gateway_linger_seconds: float = 1.0
    """While shutting down: time a kept connection still has to send its next request."""
    gateway_drain_seconds: int = 30
    """While shutting down: time that answers in flight have to finish."""
    gateway_connect_seconds: float = 2.0
    """Time that a connection to a service may take."""
    gateway_upstream_idle_seconds: float = 4.0
    """A pooled connection older than this is not used again; less than the services keep it."""
    gateway_upstream_life_seconds: float = 30.0
    """A pooled connection older than this is replaced, so that new replicas get their share."""
    gateway_upstream_connections: int = Field(128, ge=1)
    """Most connections to one service; further requests wait for a free one."""
    gateway_queue: int = Field(128, ge=0)
    """Most requests that wait for a connection to one service; more are turned away at once."""
    gateway_queue_seconds: float = Field(0.5, gt=0)
    """Nobody joins that queue any more when its first has waited so long."""

    @field_validator(*(f"{name}_url" for name in SERVICES))
    @classmethod
    def _plain_http(cls, value: str) -> str:
        if not value.startswith("http://"):
            raise ValueError("a service address must start with http://")
        return value.rstrip("/")

    @field_validator("gateway_trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Peers(value)
        return value

    @field_validator("gateway_cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[A-Za-z0-9.\-]+(:[0-9]{1,5})?", origin):
                raise ValueError("an origin is scheme, host and port alone, without a path")
        return value

    def url_of(self, service: str) -> str:
        return str(getattr(self, f"{service}_url"))
