"""The OAuth 2 / OpenID Connect server: Authlib's framework-neutral core, made strict.

A Provider lives for one request and one transaction; it runs inside `AsyncSession.run_sync`.
Errors carry fixed texts, so nothing that was sent comes back or trips Authlib's own checks.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus, urlencode

from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    InvalidClientError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Error,
    OAuth2Request,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from . import endpoints, families, grants, tokens
from .models import Account, Client, LoginSession, StaffMember

SCOPES = ("openid", "profile", "internal", "events")
AUTHORIZE = "/oauth2/authorize"
LONGEST_VALUE = 4096
SECONDS = re.compile(r"[0-9]{1,9}")
# TLS ends in front of this process, so the address that it sees says nothing about transport.
TRANSPORT_IS_OUTSIDE = "https://identity.invalid/"
TEXTS = {
    "invalid_request": "A parameter is missing, repeated, or not in the expected form.",
    "invalid_client": "The client is unknown, or did not prove who it is.",
    "invalid_grant": "The code or token was used, is too old, or belongs to someone else.",
    "unauthorized_client": "The client may not use this grant.",
    "unsupported_grant_type": "This grant type is not offered here.",
    "unsupported_response_type": "Only response_type=code is offered here.",
    "invalid_scope": "The scope is unknown, or more than the client may have.",
    "access_denied": "The person or the server refused.",
    "login_required": "Nobody is signed in, and prompt=none forbids asking.",
    "unsupported_token_type": "This type of token is not known here.",
}


@dataclass(frozen=True)
class Answer:
    """What a route turns into an HTTP answer; `body` becomes JSON when it is a mapping."""

    status: int
    body: Mapping[str, Any]
    headers: dict[str, str]


class Asked(OAuth2Request):  # type: ignore[misc]
    """A request as Authlib wants it, from parameters that came once each."""

    def __init__(
        self, method: str, parameters: Sequence[tuple[str, str]], headers: Mapping[str, str]
    ) -> None:
        super().__init__(method, TRANSPORT_IS_OUTSIDE, headers=headers)
        self.fields = dict(parameters)
        self.payload = BasicOAuth2Payload(self.fields)
        self.clean = len(self.fields) == len(parameters) and all(
            len(value) <= LONGEST_VALUE and value.isprintable() for value in self.fields.values()
        )

    @property
    def form(self) -> dict[str, str]:
        return self.fields

    @property
    def args(self) -> dict[str, str]:
        return self.fields


class Provider(AuthorizationServer):  # type: ignore[misc]
    """Every act below answers with an Answer; rows that it changed wait for the commit."""

    def __init__(self, here: tokens.Round) -> None:
        super().__init__(scopes_supported=SCOPES)
        self.here = here
        self.register_token_generator("default", self._token)
        self.register_grant(grants.CodeGrant, [grants.OnlyS256(required=True), grants.IdToken()])
        self.register_grant(grants.RefreshGrant)
        self.register_grant(grants.ClientGrant)
        self.register_endpoint(endpoints.Revocation)
        self.register_endpoint(endpoints.Introspection)
        self.register_client_auth_method("client_secret_basic", _by_basic)
        self.register_client_auth_method("client_secret_post", _by_form)
        self.register_client_auth_method("none", _by_name)

    def query_client(self, client_id: str) -> Client | None:
        client = self.here.session.get(Client, client_id)
        return client if client is not None and client.active else None

    def create_oauth2_request(self, request: Asked) -> Asked:
        return request

    def create_json_request(self, request: Any) -> Any:
        raise NotImplementedError("no endpoint here takes JSON")

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def save_token(self, token: Mapping[str, Any], request: Asked) -> None:
        """Access tokens prove themselves and refresh links were saved when they were made."""

    def _token(
        self,
        *,
        client: Client,
        user: Account | None,
        scope: str | None,
        include_refresh_token: bool,
        **_: Any,
    ) -> dict[str, Any]:
        if user is None:
            who, scope = tokens.of_client(client), client.get_allowed_scope(scope)
        else:
            assert self.here.family is not None
            assert self.here.login is not None
            member = self.here.session.get(StaffMember, user.id)
            who = tokens.of_account(user, member, self.here.family, self.here.login.acr)
        seconds = self.here.settings.access_token_seconds
        answer: dict[str, Any] = {
            "token_type": "Bearer",
            "access_token": tokens.access_token(
                self.here.key,
                issuer=self.here.settings.issuer,
                seconds=seconds,
                client=client,
                scope=scope or "",
                **who,
            ),
            "expires_in": seconds,
            "scope": scope or "",
        }
        if include_refresh_token and self.here.family is not None:
            answer["refresh_token"] = families.new_link(self.here.session, self.here.family)
            self.here.new_link = tokens.digest(answer["refresh_token"])
        return answer

    def validate_requested_scope(self, scope: str | None) -> None:
        if set((scope or "").split()) - set(SCOPES):
            raise InvalidScopeError

    def handle_response(self, status: int, body: Any, headers: Sequence[tuple[str, str]]) -> Answer:
        return Answer(status, body or {}, dict(headers))

    def handle_error_response(self, request: Asked, error: OAuth2Error) -> Answer:
        name = error.error or "invalid_request"
        body = {"error": name, "error_description": TEXTS.get(name, "It was not accepted.")}
        if error.redirect_uri:
            return self.back_to(error.redirect_uri, {**body, "state": error.state})
        headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
        basic = "Authorization" in request.headers
        if name == "invalid_client" and basic:
            headers["WWW-Authenticate"] = 'Basic realm="beam", charset="UTF-8"'
        status = 401 if name == "invalid_client" else 400
        return Answer(status, body, headers)

    def back_to(self, redirect_uri: str, parameters: Mapping[str, str | None]) -> Answer:
        """A redirect to the client, with our name beside it (RFC 9207)."""
        sent = {k: v for k, v in parameters.items() if v is not None}
        sent["iss"] = self.here.settings.issuer
        mark = "&" if "?" in redirect_uri else "?"
        return Answer(303, {}, {"Location": f"{redirect_uri}{mark}{urlencode(sent)}"})

    def token(self, request: Asked) -> Answer:
        """The token endpoint."""
        if not request.clean:
            return self.handle_error_response(request, InvalidRequestError())
        answer: Answer = self.create_token_response(request)
        return answer

    def endpoint(self, name: str, request: Asked) -> Answer:
        """The revocation or the introspection endpoint."""
        if not request.clean:
            return self.handle_error_response(request, InvalidRequestError())
        answer: Answer = self.create_endpoint_response(name, request)
        return answer

    def checked(self, request: Asked) -> Any:
        """The authorization request, checked whole, as Authlib's grant. Raises OAuth2Error: with
        a `redirect_uri` where the client may be told, without one where only the person may."""
        fields = request.fields
        if not request.clean or "request" in fields or "request_uri" in fields:
            raise InvalidRequestError
        if fields.get("response_type") != "code":
            # Authlib repeats the value in its error, and stumbles over most characters.
            fields["response_type"] = "other"
        grant = self.get_consent_grant(request)
        odd = fields.get("response_mode", "query") != "query"
        if odd or not SECONDS.fullmatch(fields.get("max_age", "0")):
            raise InvalidRequestError(redirect_uri=grant.redirect_uri, state=request.payload.state)
        if not request.scope:
            raise InvalidScopeError(redirect_uri=grant.redirect_uri, state=request.payload.state)
        return grant

    def authorize(self, request: Asked, login: LoginSession | None, now: datetime) -> Answer:
        """The authorization endpoint: a redirect to the client with a code or an error, to the
        login page, or (status 400, no Location) an error that only the person may see."""
        try:
            grant = self.checked(request)
        except OAuth2Error as error:
            return self.handle_error_response(request, error)
        fields, state = request.fields, request.payload.state
        prompt = set(fields.get("prompt", "").split())
        fresh = login is not None
        if login is not None and "max_age" in fields:
            fresh = (now - login.auth_time).total_seconds() <= int(fields["max_age"])
        if "none" in prompt and (len(prompt) > 1 or not fresh):
            name = "invalid_request" if len(prompt) > 1 else "login_required"
            told = {"error": name, "error_description": TEXTS[name], "state": state}
            return self.back_to(grant.redirect_uri, told)
        if login is None or not fresh or prompt & {"login", "select_account"}:
            again = urlencode({k: v for k, v in fields.items() if k != "prompt"})
            page = urlencode({"return_to": f"{AUTHORIZE}?{again}"})
            return Answer(303, {}, {"Location": f"/oauth2/login?{page}"})
        request.user = login
        code = grant.generate_authorization_code()
        grant.save_authorization_code(code, request)
        return self.back_to(grant.redirect_uri, {"code": code, "state": state})


def _proven(client: Client | None, secret: str) -> Client | None:
    if client is None or client.secret_hash is None:
        return None
    return client if secrets.compare_digest(client.secret_hash, tokens.digest(secret)) else None


def _by_basic(query_client: Any, request: Asked) -> Client | None:
    header = request.headers.get("Authorization")
    if header is None:
        return None
    if "client_secret" in request.fields:
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


def _by_form(query_client: Any, request: Asked) -> Client | None:
    name, secret = request.fields.get("client_id"), request.fields.get("client_secret")
    if not name or not secret or "Authorization" in request.headers:
        return None
    return _proven(query_client(name), secret)


def _by_name(query_client: Any, request: Asked) -> Client | None:
    name = request.fields.get("client_id")
    if not name or "client_secret" in request.fields or "Authorization" in request.headers:
        return None
    client: Client | None = query_client(name)
    return client if client is not None and client.secret_hash is None else None
