"""An OpenID provider above us, such as the national one: discovery, authorization code with PKCE,
an id_token that is believed only when everything fits (OpenID Connect Core §3.1.3.7).
"""

import asyncio
import base64
import hashlib
import json
import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from kit.http import open_client
from kit.jose import BadToken, ForeignKeys, SigningKey, UnknownKey

log = logging.getLogger(__name__)
FRESH_SECONDS, PAUSE_SECONDS = 3600, 30
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class Away(Exception):
    """It does not answer, or not as a provider does."""


class NotBelieved(Exception):
    """What came back does not fit what was asked; the reason is for the log."""


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """Who we are at the provider: with a secret, or with a key (PEM, P-256)."""

    client_id: str
    client_secret: str | None = None
    client_key: str | None = None

    @classmethod
    def load(cls, folder: Path) -> "Account":
        """Read `account.json` with these fields. Raises ValueError when there is no proof."""
        account = cls(**json.loads((folder / "account.json").read_text("utf-8")))
        if bool(account.client_secret) == bool(account.client_key):
            raise ValueError("account.json of the provider needs client_secret or client_key")
        return account


@dataclass(frozen=True)
class Asking:
    """What must not be lost until the person comes back."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> "Asking":
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))


class Upstream:
    """The provider at `issuer`. Its metadata and keys are kept for an hour."""

    def __init__(self, issuer: str, account: Account, redirect_uri: str, scope: str) -> None:
        self.issuer, self._account = issuer, account
        self._redirect_uri, self._scope = redirect_uri, scope
        self._client = open_client(issuer, peer="upstream")
        self._signing = SigningKey(account.client_key.encode()) if account.client_key else None
        self._metadata: dict[str, Any] = {}
        self._keys = ForeignKeys({})
        self._read_at = self._keys_tried = float("-inf")
        self._lock = asyncio.Lock()

    async def address(self, asking: Asking) -> str:
        """Where to send the browser. Raises Away."""
        metadata = await self._discovered()
        digest = hashlib.sha256(asking.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._account.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._scope,
            "state": asking.state,
            "nonce": asking.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        place = str(metadata["authorization_endpoint"])
        return f"{place}{'&' if '?' in place else '?'}{urlencode(query)}"

    async def claims(self, code: str, asking: Asking) -> dict[str, Any]:
        """What the provider says about who came back with this code. Raises Away, NotBelieved."""
        metadata = await self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": asking.verifier,
        }
        place = str(metadata["token_endpoint"])
        try:
            answer = await self._client.post(place, data={**form, **self._proof()})
            body = answer.json() if answer.status_code in (200, 400, 401) else None
        except (httpx.HTTPError, ValueError) as error:
            raise Away(type(error).__name__) from None
        if body is None:
            raise Away(str(answer.status_code))
        token = body.get("id_token") if isinstance(body, dict) else None
        if answer.status_code != 200 or not isinstance(token, str):
            raise NotBelieved("no id_token")
        return await self._believed(token, asking.nonce)

    async def _believed(self, token: str, nonce: str) -> dict[str, Any]:
        named = {"issuer": self.issuer, "client_id": self._account.client_id, "nonce": nonce}
        try:
            try:
                return self._keys.verify(token, **named)
            except UnknownKey:
                await self._read_keys()
                return self._keys.verify(token, **named)
        except BadToken as why:
            raise NotBelieved(str(why)) from None

    def _proof(self) -> dict[str, str]:
        """How we prove ourselves: the secret in the form, or a signed assertion."""
        client_id = self._account.client_id
        if self._signing is None:
            return {"client_id": client_id, "client_secret": self._account.client_secret or ""}
        at = int(time.time())
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": self.issuer,
            "jti": secrets.token_hex(16),
            "iat": at,
            "exp": at + 60,
        }
        assertion = self._signing.sign(claims, "JWT")
        return {
            "client_id": client_id,
            "client_assertion_type": ASSERTION,
            "client_assertion": assertion,
        }

    async def _discovered(self) -> dict[str, Any]:
        async with self._lock:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                try:
                    found = await self._get(f"{self.issuer}/.well-known/openid-configuration")
                    if found.get("issuer") != self.issuer:
                        raise Away("another issuer")
                    if not all(self._fits(found.get(name)) for name in ENDPOINTS):
                        raise Away("an endpoint is missing or odd")
                    self._metadata, self._read_at = found, time.monotonic()
                except Away:
                    if not self._metadata:
                        raise
                    log.warning("the provider above is away; its old metadata serve on")
        return self._metadata

    def _fits(self, place: Any) -> bool:
        """https, unless the issuer itself is a trial on the machine."""
        home = self.issuer.startswith("http://127.0.0.1:")
        return isinstance(place, str) and (
            place.startswith("https://") or (home and place.startswith(self.issuer))
        )

    async def _read_keys(self) -> None:
        """Read its keys again, once in half a minute at most. Raises Away."""
        if time.monotonic() - self._keys_tried > PAUSE_SECONDS:
            self._keys_tried = time.monotonic()
            try:
                self._keys = ForeignKeys(await self._get(str(self._metadata["jwks_uri"])))
            except Away:
                self._keys_tried = float("-inf")
                raise

    async def _get(self, place: str) -> dict[str, Any]:
        try:
            answer = await self._client.get(place)
            answer.raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Away(type(error).__name__) from None
        if not isinstance(found, dict):
            raise Away("no object")
        return found

    async def close(self) -> None:
        await self._client.aclose()
