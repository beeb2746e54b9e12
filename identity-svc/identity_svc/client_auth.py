"""How clients prove who they are: a signed assertion, a secret, or (public ones) nothing."""

import base64
import binascii
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus

from authlib.oauth2.rfc6749 import InvalidClientError, InvalidRequestError

from kit.jose import LEEWAY_SECONDS, BadToken, KeySet, claimed_subject

from . import proofs, tokens
from .models import Client

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
Prove = Callable[[Any, Any], Client | None]


def _also(request: Any, *fields: str) -> bool:
    """Whether the client sends another proof beside: one at a time."""
    return "Authorization" in request.headers or any(name in request.fields for name in fields)


def by_assertion(here: tokens.Round) -> Prove:
    """private_key_jwt (RFC 7523): signed by the client's key, for this issuer, once."""

    def prove(query_client: Any, request: Any) -> Client | None:
        assertion = request.fields.get("client_assertion")
        if assertion is None:
            return None
        wrong = InvalidClientError(status_code=401)
        if request.fields.get("client_assertion_type") != ASSERTION:
            raise wrong
        if _also(request, "client_secret"):
            raise InvalidRequestError("one way of proving the client at a time")
        try:
            name = claimed_subject(assertion)
            client: Client | None = query_client(name) if name.isprintable() else None
            keys = KeySet(client.jwks) if client is not None and client.jwks else here.remote
            if client is None or not client.has_keys() or keys is None:
                raise wrong
            if request.fields.get("client_id", name) != name:
                raise wrong
            claims = keys.verify_assertion(assertion, client_id=name, audience=here.settings.issuer)
        except BadToken:
            raise wrong from None
        ends = datetime.fromtimestamp(claims["exp"], UTC) + timedelta(seconds=LEEWAY_SECONDS)
        if not proofs.once(here.session, f"assertion|{name}|{claims['jti']}", ends):
            raise wrong
        return client

    return prove


def _proven(client: Client | None, secret: str) -> Client | None:
    if client is None or client.secret_hash is None:
        return None
    return client if secrets.compare_digest(client.secret_hash, tokens.digest(secret)) else None


def by_basic(query_client: Any, request: Any) -> Client | None:
    header = request.headers.get("Authorization")
    if header is None:
        return None
    if {"client_secret", "client_assertion"} & request.fields.keys():
        raise InvalidRequestError("one way of proving the client at a time")
    scheme, _, value = header.partition(" ")
    try:
        name, colon, secret = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise InvalidClientError(status_code=401) from None
    name, secret = unquote_plus(name), unquote_plus(secret)
    other = request.fields.get("client_id", name) != name
    if scheme.lower() != "basic" or not colon or other or not name.isprintable():
        raise InvalidClientError(status_code=401)
    return _proven(query_client(name), secret)


def by_form(query_client: Any, request: Any) -> Client | None:
    name, secret = request.fields.get("client_id"), request.fields.get("client_secret")
    if not name or not secret or _also(request, "client_assertion"):
        return None
    return _proven(query_client(name), secret)


def by_name(query_client: Any, request: Any) -> Client | None:
    name = request.fields.get("client_id")
    if not name or _also(request, "client_secret", "client_assertion"):
        return None
    client: Client | None = query_client(name)
    return client if client is not None and client.is_public() else None
