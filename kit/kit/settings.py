"""Settings that every service has. A service extends them; nobody else reads the environment."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """All from the environment, prefix `BEAM_`; secrets may also lie as files (`secrets_dir`)."""

    model_config = SettingsConfigDict(env_prefix="BEAM_", extra="ignore", frozen=True)

    service: str
    """Short name: `case`, `payment` …; fixed by each service."""
    environment: Literal["development", "test", "production"] = "production"
    """Outside `production` the simulators and demo accounts may be used."""
    host: str = "127.0.0.1"
    """Where it listens."""
    port: int = 8000
    """Where it listens."""
    database_url: SecretStr
    """postgresql+asyncpg://…, the least-rights role"""
    database_pool: int = 5
    """Connections to PostgreSQL that are kept."""
    database_overflow: int = 3
    """Connections beside them while many ask at once."""
    nats_url: str = "nats://127.0.0.1:4222"
    """The broker; the servers of a cluster with commas between."""
    nats_user: str = ""
    """Its account at the broker."""
    nats_password: SecretStr = SecretStr("")
    """Of that account."""
    nats_replicas: int = Field(1, ge=1, le=5)
    """On how many servers of a NATS cluster the stream of events is kept; counts when it is
    created. A stream that is there: `beam broker --replicas`."""
    issuer: str = "http://127.0.0.1:8000"
    """Public address of the beam: the `iss` of every token."""
    jwks_url: str = "http://127.0.0.1:8001/.well-known/jwks.json"
    """Where identity lays out the keys that tokens are signed with."""
    token_url: str = "http://127.0.0.1:8001/oauth2/token"
    """Where it gets its own tokens."""
    service_secret: SecretStr = SecretStr("")
    """Client secret with which this service gets its own tokens (client id `svc-<service>`)."""
    vault_key_file: Path | None = None
    """JSON file with the keys of field encryption, see kit.secrets."""
    audit_anchor_dir: Path | None = None
    """Folder on another volume than the database's: the seals of the trail are written there, too,
    see kit.seals. Unset: they stand in the database and on the stream alone."""
    traces: str = ""
    """Where spans go, see kit.traces: `file:///…` or `http://…/v1/traces`; nowhere when empty."""
    traces_ratio: float = Field(1.0, ge=0, le=1)
    """Share of the traces that are kept."""

    def url_of(self, service: str) -> str:
        """Address of another service that this one asks; its settings name it `<service>_url`."""
        return str(getattr(self, f"{service}_url"))
