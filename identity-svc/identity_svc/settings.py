"""What can be configured in identity-svc, beside what every service has."""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, TypeAdapter, field_validator

from kit.peers import Peers
from kit.settings import ServiceSettings

SECRETS: TypeAdapter[dict[str, SecretStr]] = TypeAdapter(dict[str, SecretStr])
SHORTEST_SECRET = 32


class Settings(ServiceSettings):
    service: str = "identity"
    case_url: str = "http://127.0.0.1:8003"
    licence_url: str = "http://127.0.0.1:8004"
    payment_url: str = "http://127.0.0.1:8005"
    logistics_url: str = "http://127.0.0.1:8006"
    helpdesk_url: str = "http://127.0.0.1:8007"
    service_secrets_file: Path | None = None
    """JSON {client_id: secret} of the clients `svc-*` (services) and `dept-*` (partners)."""
    exchange_clients: tuple[str, ...] = ()
    """Those of them that may exchange a person's token for one in which they act (RFC 8693)."""
    portal_redirect_uris: tuple[str, ...] = ()
    """Redirect addresses of the portal beside `<issuer>/callback`; compared character by
    character."""
    identity_trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Peers, or networks of them (10.1.2.0/24), whose last X-Forwarded-For entry is believed:
    the gateway."""
    access_token_seconds: int = Field(600, ge=60, le=900)
    """Life of an access token."""
    code_seconds: int = Field(60, ge=1, le=60)
    """Life of an authorization code."""
    refresh_days: int = Field(30, ge=1, le=90)
    """Life of a refresh token."""
    refresh_grace_seconds: int = Field(10, ge=0, le=60)
    """How long a used refresh token may come once more, when its answer was lost on the way."""
    session_hours: int = Field(8, ge=1, le=24)
    """How long a sign-in is remembered in the browser."""
    private_targets: tuple[str, ...] = ()
    """Networks of our own in which clients may want to be told of a logout or lay out their keys
    (10.20.0.0/16); outside production the machine itself is one of them."""
    key_days: int = Field(30, ge=2)
    """Age at which a signing key is replaced by the next one."""
    sms_keys: Path | None = None
    """Folder with Aliyun's `account.json`; without it no codes are sent."""
    sms_base_url: str = "https://dysmsapi.aliyuncs.com"
    wechat_mini_keys: Path | None = None
    """Folder with the mini-program's `account.json`; without it nobody signs in by WeChat."""
    wechat_mini_base_url: str = "https://api.weixin.qq.com"
    citizens_keys: Path | None = None
    """Folder with the `account.json` of the register of citizens; without it nobody gets L2."""
    citizens_base_url: str = "http://127.0.0.1:8090"
    enterprises_keys: Path | None = None
    """Folder with the `account.json` of the register of enterprises; without it no firm can be
    registered."""
    enterprises_base_url: str = "http://127.0.0.1:8090"
    upstream_oidc_issuer: str = ""
    """An OpenID provider above us, in which people may sign in; empty: none."""
    upstream_oidc_keys: Path | None = None
    """Folder with `account.json`: client_id, and client_secret or client_key (PEM, P-256)."""
    upstream_oidc_name: str = "国家政务服务平台"
    """Its name on the login page."""
    upstream_oidc_name_en: str = "the national platform"
    """The same in English."""
    upstream_oidc_scope: str = "openid profile"
    """What it is asked for."""
    upstream_oidc_id_claim: str = "id_number"
    """The claim in which it tells the identity number that it has verified."""
    upstream_oidc_levels: dict[str, Literal["L1", "L2", "L3", "L4"]] = Field(default_factory=dict)
    """Its `acr` values and what each is worth here; L1 what is not named. From L2 on its identity
    number is believed."""
    tries_per_account: int = Field(10, ge=3)
    """Wrong passwords or codes, before an account has to wait."""
    tries_per_address: int = Field(50, ge=5)
    """The same for one address of the network."""
    registrations_per_address: int = Field(20, ge=1)
    """New accounts from one address of the network."""
    codes_per_address: int = Field(30, ge=1)
    """Short messages that callers of one address may ask for in an hour."""
    tries_minutes: int = Field(15, ge=1)
    """The window in which tries are counted, and how long a lock-out lasts."""

    @property
    def targets(self) -> tuple[str, ...]:
        home = () if self.environment == "production" else ("127.0.0.0/8", "::1")
        return (*self.private_targets, *home)

    @field_validator("identity_trusted_proxies", "private_targets")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Peers(value)
        return value

    def client_secrets(self) -> dict[str, str]:
        """The secrets of the confidential clients. Raises SystemExit when one is too short."""
        if self.service_secrets_file is None:
            return {}
        read = SECRETS.validate_python(json.loads(self.service_secrets_file.read_text()))
        secrets = {name: value.get_secret_value() for name, value in read.items()}
        for name, secret in secrets.items():
            if len(secret) < SHORTEST_SECRET:
                raise SystemExit(
                    f"客户端 {name} 的密钥太短,至少 {SHORTEST_SECRET} 个字符。"
                    f" / The secret of client {name} is shorter than {SHORTEST_SECRET} characters."
                )
        return secrets
