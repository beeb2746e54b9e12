"""Token exchange (RFC 8693): a service or a department's system acts for a person, and says so.

It hands in the person's access token and gets one of its own: for the same subject, with no more
scope, for no other service, ending no later, of the same family (so whatever ends the sign-in
ends it too), and with the client in front of the chain of actors (`act`).
"""

import time
from typing import Any

from authlib.oauth2.rfc6749 import (
    BaseGrant,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Error,
    TokenEndpointMixin,
    UnauthorizedClientError,
)

from kit.auth import AUDIENCE, MOST_ACTORS, actors_of, audience_of
from kit.ids import uuid7
from kit.jose import BadToken, texts

from . import endpoints, proofs, tokens
from .grants import SECRET_PROOFS, Here
from .models import Client

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
REPLACED = frozenset(
    ("iss", "aud", "iat", "exp", "jti", "client_id", "scope", "cnf", "act", "may_act")
)
"""All other claims are as they were: one that narrows what the person may do must not get lost."""
SHORTEST_SECONDS = 5
"""A token that ends sooner is not worth exchanging."""


class InvalidTarget(OAuth2Error):  # type: ignore[misc]
    error = "invalid_target"


class ExchangeGrant(Here, BaseGrant, TokenEndpointMixin):  # type: ignore[misc]
    """For clients whose registration names this grant."""

    GRANT_TYPE = EXCHANGE
    TOKEN_ENDPOINT_AUTH_METHODS = SECRET_PROOFS

    def validate_token_request(self) -> None:
        client: Client = self.authenticate_token_endpoint_client()
        self.request.client = client
        if not client.check_grant_type(EXCHANGE):
            raise UnauthorizedClientError
        proofs.demand(self.here, client)
        fields = self.request.fields
        odd = (
            fields.get("subject_token_type") != ACCESS_TOKEN
            or fields.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN
            or {"actor_token", "actor_token_type"} & fields.keys()
        )
        if odd or not fields.get("subject_token"):
            raise InvalidRequestError
        self._claims = self._subject(client, fields["subject_token"])
        self._scope = _narrower(self._claims.get("scope", ""), fields.get("scope"))
        self._audience = _target(self._claims, client, fields)

    def _subject(self, client: Client, text: str) -> dict[str, Any]:
        """The claims of a person's token that stands and that this client may act with."""
        here = self.here
        try:
            claims = here.verifying.verify(
                text, issuer=here.settings.issuer, audience=tokens.AUDIENCES
            )
            chain = actors_of(claims)
        except BadToken:
            raise InvalidGrantError from None
        allowed = claims.get("may_act")
        if allowed is not None and allowed != {"sub": client.client_id}:
            raise InvalidGrantError
        if tokens.family_of(claims) is None or not endpoints.is_live(here.session, claims):
            raise InvalidGrantError
        if len(chain) >= MOST_ACTORS or claims["exp"] < time.time() + SHORTEST_SECONDS:
            raise InvalidGrantError
        if "cnf" in claims and here.jkt is None:
            raise proofs.InvalidProof  # a bound token is not turned into one that is free
        return claims

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        here, claims, client = self.here, self._claims, self.request.client
        seconds = min(here.settings.access_token_seconds, claims["exp"] - int(time.time()))
        beneath = {"act": claims["act"]} if "act" in claims else {}
        who = {name: value for name, value in claims.items() if name not in REPLACED}
        answer = {
            "access_token": tokens.access_token(
                here.key,
                issuer=here.settings.issuer,
                seconds=seconds,
                client=client,
                scope=self._scope,
                jkt=here.jkt,
                jti=f"{tokens.family_of(claims)}.{uuid7().hex}",
                aud=self._audience,
                act={"sub": client.client_id, **beneath},
                may_act=None,
                **who,
            ),
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "DPoP" if here.jkt else "Bearer",
            "expires_in": seconds,
            "scope": self._scope,
        }
        return 200, answer, self.TOKEN_RESPONSE_HEADER


def _narrower(has: str, asked: str | None) -> str:
    wanted = has.split() if asked is None else asked.split()
    if not set(wanted) <= set(has.split()) or (asked is not None and not wanted):
        raise InvalidScopeError
    return " ".join(dict.fromkeys(wanted))


def _target(claims: dict[str, Any], client: Client, fields: dict[str, str]) -> str:
    """For whom the new token is: one that the subject's token is good for. A token for one
    service is exchanged by that service alone."""
    has = texts(claims["aud"])
    wanted = fields.get("audience", has[0])
    mine = audience_of(client.client_id.removeprefix("svc-"))
    wider = AUDIENCE not in has and (wanted not in has or mine not in has)
    if wanted not in tokens.AUDIENCES or wider or "resource" in fields:
        raise InvalidTarget
    return wanted
