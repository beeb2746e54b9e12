"""What stands in the tokens that we sign."""

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from kit.auth import AUDIENCE, audience_of
from kit.ids import uuid7
from kit.jose import KeySet, SigningKey

from .models import Account, Client, LoginSession, RefreshFamily, StaffMember
from .settings import Settings

SERVICES = (
    "identity",
    "catalog",
    "case",
    "licence",
    "payment",
    "logistics",
    "helpdesk",
    "exchange",
)
AUDIENCES = (AUDIENCE, *map(audience_of, SERVICES))
"""Whom an access token may be for: all services, or one."""


@dataclass
class Round:
    """One request to the provider: its transaction, the keys, and, once it is known, whose
    sign-in and which family its tokens are about."""

    session: Session
    settings: Settings
    key: SigningKey
    verifying: KeySet
    remote: KeySet | None = None
    """The keys that the client of this request lays out itself."""
    login: LoginSession | None = None
    family: RefreshFamily | None = None
    jkt: str | None = None
    """Thumbprint of the key that the request proved to hold (DPoP)."""
    new_link: str | None = None
    """Hash of the refresh token that this request hands out."""


def digest(secret: str) -> str:
    """How a random secret (code, refresh token, cookie, client secret) is kept: 256 bits need no
    slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def family_of(claims: Mapping[str, Any]) -> str | None:
    """The family that an access token belongs to; None for tokens of services and partners."""
    family, dot, _ = str(claims["jti"]).partition(".")
    return family if dot else None


def access_token(
    key: SigningKey,
    *,
    issuer: str,
    seconds: int,
    client: Client,
    scope: str,
    jkt: str | None,
    **who: Any,
) -> str:
    at = int(time.time())
    claims = {
        "iss": issuer,
        "aud": AUDIENCE,
        "iat": at,
        "exp": at + seconds,
        "client_id": client.client_id,
        "scope": scope,
        "cnf": {"jkt": jkt} if jkt else None,
        "may_act": {"sub": client.may_act} if client.may_act else None,
        **who,
    }
    return key.sign({name: value for name, value in claims.items() if value is not None}, "at+jwt")


def of_account(
    account: Account, member: StaffMember | None, family: RefreshFamily, acr: str
) -> dict[str, Any]:
    """Who the caller is, for a token of a signed-in account."""
    return {
        "sub": account.id,
        "jti": f"{family.id}.{uuid7().hex}",
        "kind": account.kind,
        "acr": acr,
        "roles": member.roles if member else [],
        "dept": member.dept if member else None,
        "region": member.region if member else None,
        "items": member.items if member else None,
    }


def of_client(client: Client) -> dict[str, Any]:
    """Who the caller is, for a token of a service or a department's system."""
    return {
        "sub": client.client_id,
        "jti": uuid7().hex,
        "kind": client.kind,
        "acr": "L0",
        "roles": [],
        "dept": client.dept,
    }


def id_token(
    key: SigningKey,
    *,
    issuer: str,
    seconds: int,
    client_id: str,
    login: LoginSession,
    nonce: str | None,
    beside: str,
    subject: str | None = None,
    actor: str | None = None,
) -> str:
    """An OpenID Connect id_token; `beside` is the access token that comes with it. With `actor`
    it is about `subject`, for whom the one who signed in acts."""
    at = int(time.time())
    half = hashlib.sha256(beside.encode()).digest()[:16]
    claims = {
        "iss": issuer,
        "aud": client_id,
        "sub": subject or login.account_id,
        "jti": uuid7().hex,
        "iat": at,
        "exp": at + seconds,
        "auth_time": int(login.auth_time.timestamp()),
        "acr": login.acr,
        "amr": login.amr,
        "sid": login.id,
        "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
        **({"act": {"sub": actor}} if actor else {}),
        **({"nonce": nonce} if nonce else {}),
    }
    return key.sign(claims, "JWT")
