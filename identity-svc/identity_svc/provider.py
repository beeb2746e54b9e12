"""The OAuth 2 / OpenID Connect server: Authlib's framework-neutral core, made strict.

A Provider lives for one request and one transaction; it runs inside `AsyncSession.run_sync`.
Errors carry fixed texts, so nothing that was sent comes back or trips Authlib's own checks.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Error,
    OAuth2Request,
    UnauthorizedClientError,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from kit.clock import now

from . import (
    acting,
    client_auth,
    devices,
    endpoints,
    exchange,
    families,
    grants,
    levels,
    proofs,
    pushed,
    tokens,
)
from .models import Account, Client, Consent, LoginSession, PushedRequest, StaffMember

SCOPES = ("openid", "profile", "internal", "events")
AUTHORIZE = "/oauth2/authorize"
TOKEN, PAR = "/oauth2/token", "/oauth2/par"
DEVICE_PAGE = "/oauth2/device"
LOGIN, STEP_UP, CONSENT = "/oauth2/login", "/oauth2/step-up", "/oauth2/consent"
ACTING = "/oauth2/acting"
THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
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
    "consent_required": "The person has not agreed yet, and prompt=none forbids asking.",
    "interaction_required": "The person must choose, and prompt=none forbids asking.",
    "login_required": "Nobody is signed in, and prompt=none forbids asking.",
    "invalid_dpop_proof": "A DPoP proof is missing, was used, is too old, or does not fit.",
    "unmet_authentication_requirements": "The level that was asked for cannot be reached here.",
    "invalid_target": "The token may not be for that service.",
    "authorization_pending": "The person has not decided yet; ask again.",
    "slow_down": "You ask too often: wait five seconds more from now on.",
    "expired_token": "The device code is too old. Start again.",
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
        self.carry(dict(parameters))
        self.pushed: PushedRequest | None = None
        self.clean = len(self.fields) == len(parameters) and all(
            len(value) <= LONGEST_VALUE and value.isprintable() for value in self.fields.values()
        )

    def carry(self, fields: dict[str, str]) -> None:
        """Let these be the parameters."""
        self.fields = fields
        self.payload = BasicOAuth2Payload(fields)

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
        self.register_grant(exchange.ExchangeGrant)
        self.register_grant(devices.DeviceGrant)
        self.register_endpoint(endpoints.Revocation)
        self.register_endpoint(endpoints.Introspection)
        self.register_client_auth_method("private_key_jwt", client_auth.by_assertion(here))
        self.register_client_auth_method("client_secret_basic", client_auth.by_basic)
        self.register_client_auth_method("client_secret_post", client_auth.by_form)
        self.register_client_auth_method("none", client_auth.by_name)

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
        seconds = self.here.settings.access_token_seconds
        if user is None:
            who, scope = tokens.of_client(client), client.get_allowed_scope(scope)
        else:
            assert self.here.family is not None
            assert self.here.login is not None
            family, acr = self.here.family, self.here.login.acr
            if family.actor_id is not None:
                who, seconds = acting.claims(self.here.session, user, family, acr, seconds)
            else:
                member = self.here.session.get(StaffMember, user.id)
                who = tokens.of_account(user, member, family, acr)
        answer: dict[str, Any] = {
            "token_type": "DPoP" if self.here.jkt else "Bearer",
            "access_token": tokens.access_token(
                self.here.key,
                issuer=self.here.settings.issuer,
                seconds=seconds,
                client=client,
                scope=scope or "",
                jkt=self.here.jkt,
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
        try:
            self.here.jkt = proofs.read(self.here, request, TOKEN)
        except OAuth2Error as error:
            return self.handle_error_response(request, error)
        answer: Answer = self.create_token_response(request)
        return answer

    def push(self, request: Asked) -> Answer:
        """The endpoint of pushed authorization requests."""
        try:
            if not request.clean or "request_uri" in request.fields:
                raise InvalidRequestError
            client = self.authenticate_client(request, grants.EVERY_PROOF, "par")
            jkt = proofs.read(self.here, request, PAR)
            if jkt and request.fields.setdefault("dpop_jkt", jkt) != jkt:
                raise proofs.InvalidProof
            request.fields.setdefault("client_id", client.client_id)
            request.carry(request.fields)
            self.checked(request, pushing=True)
        except OAuth2Error as error:
            error.redirect_uri = None
            return self.handle_error_response(request, error)
        uri = pushed.keep(self.here.session, client.client_id, request.fields, now())
        body = {"request_uri": uri, "expires_in": int(pushed.LIFE.total_seconds())}
        return Answer(201, body, {})

    def device(self, request: Asked, hashed: devices.KeyedHash) -> Answer:
        """The endpoint at which a terminal asks for a sign-in (RFC 8628); `hashed` is how its
        short code is kept."""
        try:
            if not request.clean:
                raise InvalidRequestError
            client = self.authenticate_client(request, grants.EVERY_PROOF, "device")
            if not client.check_grant_type(devices.DEVICE):
                raise UnauthorizedClientError
            scope = request.fields.get("scope", "")
            if not scope.split() or set(scope.split()) - set(client.scopes):
                raise InvalidScopeError
        except OAuth2Error as error:
            return self.handle_error_response(request, error)
        device_code, user_code = devices.begin(self.here.session, client, scope, hashed)
        page = f"{self.here.settings.issuer}{DEVICE_PAGE}"
        body = {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?{urlencode({'user_code': user_code})}",
            "expires_in": int(devices.LIFE.total_seconds()),
            "interval": devices.INTERVAL,
        }
        return Answer(200, body, {})

    def endpoint(self, name: str, request: Asked) -> Answer:
        """The revocation or the introspection endpoint."""
        if not request.clean:
            return self.handle_error_response(request, InvalidRequestError())
        answer: Answer = self.create_endpoint_response(name, request)
        return answer

    def checked(self, request: Asked, *, pushing: bool = False) -> Any:
        """The authorization request, checked whole, as Authlib's grant. Raises OAuth2Error: with
        a `redirect_uri` where the client may be told, without one where only the person may."""
        fields = request.fields
        if not request.clean or "request" in fields:
            raise InvalidRequestError
        if "request_uri" in fields:
            name = fields.get("client_id")
            request.pushed = pushed.find(self.here.session, fields["request_uri"], name, now())
            request.carry(dict(request.pushed.parameters))
            fields = request.fields
        if fields.get("response_type") != "code":
            # Authlib repeats the value in its error, and stumbles over most characters.
            fields["response_type"] = "other"
        grant = self.get_consent_grant(request)
        odd = (
            fields.get("response_mode", "query") != "query"
            or not SECONDS.fullmatch(fields.get("max_age", "0"))
            or not THUMBPRINT.fullmatch(fields.get("dpop_jkt", "-" * 43))
            or (grant.client.pushed_only and not pushing and request.pushed is None)
        )
        if odd:
            raise InvalidRequestError(redirect_uri=grant.redirect_uri, state=request.payload.state)
        if not request.scope:
            raise InvalidScopeError(redirect_uri=grant.redirect_uri, state=request.payload.state)
        return grant

    def authorize(self, request: Asked, login: LoginSession | None, now: datetime) -> Answer:
        """The authorization endpoint: a redirect to the client with a code or an error, to the
        login page, or (status 400, no Location) an error that only the person may see."""
        reference = request.fields
        try:
            grant = self.checked(request)
        except OAuth2Error as error:
            return self.handle_error_response(request, error)
        answer = self._decide(grant, request, login, now)
        if request.pushed is not None:
            if answer.headers["Location"].startswith("/oauth2/"):
                kept = {name: reference[name] for name in ("client_id", "request_uri")}
                if "ui_locales" in request.fields:  # for the page, which does not read the rest
                    kept["ui_locales"] = request.fields["ui_locales"]
                page = answer.headers["Location"].partition("?")[0]
                return self._to_page(page, kept)
            request.pushed.used_at = now
        return answer

    def deny(self, request: Asked, now: datetime) -> Answer:
        """The person does not agree: back to the client with access_denied."""
        try:
            grant = self.checked(request)
        except OAuth2Error as error:
            return self.handle_error_response(request, error)
        if request.pushed is not None:
            request.pushed.used_at = now
        told = {"error": "access_denied", "error_description": TEXTS["access_denied"]}
        return self.back_to(grant.redirect_uri, {**told, "state": request.payload.state})

    def _to_page(self, page: str, fields: Mapping[str, str]) -> Answer:
        """To a page of ours that comes back to the authorization request."""
        back = urlencode({"return_to": f"{AUTHORIZE}?{urlencode(fields)}"})
        return Answer(303, {}, {"Location": f"{page}?{back}"})

    def _decide(
        self, grant: Any, request: Asked, login: LoginSession | None, now: datetime
    ) -> Answer:
        fields, state = request.fields, request.payload.state
        prompt = set(fields.get("prompt", "").split())
        fresh = login is not None
        if login is not None and "max_age" in fields:
            fresh = (now - login.auth_time).total_seconds() <= int(fields["max_age"])
        if "none" in prompt and (len(prompt) > 1 or not fresh):
            name = "invalid_request" if len(prompt) > 1 else "login_required"
            told = {"error": name, "error_description": TEXTS[name], "state": state}
            return self.back_to(grant.redirect_uri, told)
        asked_at = request.pushed.created_at if request.pushed is not None else now
        once_more = prompt & {"login", "select_account"} and not (
            login is not None and login.auth_time >= asked_at
        )
        if login is None or not fresh or once_more:
            return self._to_page(LOGIN, _asking_less(fields, "login", "select_account"))
        level = levels.needed(fields.get("acr_values", ""))
        if login.acr < level:
            if "none" in prompt or level > levels.ONLINE:
                name = "unmet_authentication_requirements"
                told = {"error": name, "error_description": TEXTS[name], "state": state}
                return self.back_to(grant.redirect_uri, told)
            return self._to_page(STEP_UP, fields)
        if grant.client.third_party:
            given = self.here.session.get(Consent, (login.account_id, grant.client.client_id))
            enough = given is not None and set(request.scope.split()) <= set(given.scopes)
            if given is not None and "consent" in prompt and given.given_at < asked_at:
                enough = False
            if not enough and "none" in prompt:
                told = {"error": "consent_required", "state": state}
                told["error_description"] = TEXTS["consent_required"]
                return self.back_to(grant.redirect_uri, told)
            if not enough:
                return self._to_page(CONSENT, _asking_less(fields, "consent"))
        wish = acting.wish(self.here.session, grant.client, login.account_id, fields.get("act_for"))
        if wish == "choose" and "none" not in prompt:
            return self._to_page(ACTING, fields)
        if wish in ("choose", "denied"):
            name = "interaction_required" if wish == "choose" else "access_denied"
            told = {"error": name, "error_description": TEXTS[name], "state": state}
            return self.back_to(grant.redirect_uri, told)
        request.user = login
        code = grant.generate_authorization_code()
        grant.save_authorization_code(code, request)
        return self.back_to(grant.redirect_uri, {"code": code, "state": state})


def _asking_less(fields: Mapping[str, str], *prompts: str) -> dict[str, str]:
    """The parameters without these values of `prompt`, which a page of ours sees to."""
    left = [value for value in fields.get("prompt", "").split() if value not in prompts]
    rest = {name: value for name, value in fields.items() if name != "prompt"}
    return {**rest, "prompt": " ".join(left)} if left else rest
