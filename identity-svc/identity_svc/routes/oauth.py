"""The endpoints of OAuth 2 and OpenID Connect. Their errors are those of RFC 6749, in JSON."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, RedirectResponse

from kit.auth import Anyone, Caller, Public, SignedCallback
from kit.clock import now
from kit.errors import Unauthenticated
from kit.jose import BadToken, KeySet, claimed_subject
from kit.samples import shown

from .. import accounts, endpoints, logins, tokens
from ..client_keys import ClientKeys
from ..devices import DEVICE
from ..exchange import EXCHANGE
from ..grants import EVERY_PROOF, SECRET_PROOFS
from ..models import Client
from ..provider import SCOPES, Answer, Asked, Provider
from .declared import CLIENT, REQUEST, form, oauth_errors, page_errors, query
from .pages import error_page
from .web import At, Parameters, Web, answered

router = APIRouter(tags=["oauth2"])
GRANTS = ("authorization_code", "refresh_token", "client_credentials", EXCHANGE, DEVICE)
CACHED = {"cache-control": "public, max-age=300"}
SOMEBODY = shown({"sub": "acc_019920c47a1e7cc29d425b6f0e9d6c4c", "kind": "person", "acr": "L2"})


async def provide(
    at: Web, act: Callable[[Provider], Answer], request: Asked | None = None
) -> Answer:
    """Let the provider act in one transaction, committed before the answer. `request`: one with
    which a client proves itself."""
    key, verifying = await at.keys.current(), await at.keys.verifying()
    remote = await _remote_keys(at, request) if request is not None else None
    async with at.runtime.sessions.begin() as session:
        return await session.run_sync(
            lambda plain: act(Provider(tokens.Round(plain, at.settings, key, verifying, remote)))
        )


async def _remote_keys(at: Web, request: Asked) -> KeySet | None:
    """The keys that a client lays out itself, fetched before the transaction begins."""
    assertion = request.fields.get("client_assertion")
    if assertion is None:
        return None
    try:
        name = claimed_subject(assertion)
    except BadToken:
        return None
    async with at.runtime.sessions() as session:
        client = await session.get(Client, name) if name.isprintable() else None
    if client is None or client.jwks_uri is None or not client.active:
        return None
    keys: ClientKeys = at.runtime.parts["client_keys"]
    return await keys.of(client.jwks_uri, assertion)


def asked(at: Web, parameters: Parameters) -> Asked:
    said = at.request.headers.getlist("authorization")
    headers = {"Authorization": said[0] if len(said) == 1 else "?"} if said else {}
    proofs = at.request.headers.getlist("dpop")
    if proofs:
        headers["DPoP"] = proofs[0] if len(proofs) == 1 else "?"
    return Asked(at.request.method, parameters, headers)


@router.get(
    "/.well-known/openid-configuration",
    responses=shown(
        {
            "issuer": "https://beam.example",
            "authorization_endpoint": "https://beam.example/oauth2/authorize",
            "token_endpoint": "https://beam.example/oauth2/token",
            "jwks_uri": "https://beam.example/.well-known/jwks.json",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
    ),
)
async def discovery(at: At, _: Public) -> JSONResponse:
    """Where everything is and what is offered (OpenID Connect Discovery, RFC 8414)."""
    base = at.settings.issuer
    proven = list(SECRET_PROOFS)
    signing = {
        f"{name}_endpoint_auth_signing_alg_values_supported": ["ES256"]
        for name in ("token", "revocation", "introspection")
    }
    document = {
        "issuer": base,
        "authorization_endpoint": f"{base}/oauth2/authorize",
        "pushed_authorization_request_endpoint": f"{base}/oauth2/par",
        "device_authorization_endpoint": f"{base}/oauth2/device_authorization",
        "token_endpoint": f"{base}/oauth2/token",
        "userinfo_endpoint": f"{base}/oauth2/userinfo",
        "jwks_uri": f"{base}/.well-known/jwks.json",
        "revocation_endpoint": f"{base}/oauth2/revoke",
        "introspection_endpoint": f"{base}/oauth2/introspect",
        "end_session_endpoint": f"{base}/oauth2/logout",
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GRANTS),
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": list(SCOPES),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": list(EVERY_PROOF),
        "revocation_endpoint_auth_methods_supported": list(EVERY_PROOF),
        "introspection_endpoint_auth_methods_supported": proven,
        **signing,
        "dpop_signing_alg_values_supported": ["ES256"],
        "require_pushed_authorization_requests": False,
        "acr_values_supported": ["L0", "L1", "L2", "L3", "L4"],
        "claims_supported": ["sub", "acr", "amr", "auth_time", "nonce", "name", "kind"],
        "ui_locales_supported": ["zh-CN", "en"],
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "authorization_response_iss_parameter_supported": True,
    }
    return JSONResponse(document, headers=CACHED)


@router.get(
    "/.well-known/jwks.json",
    responses=shown(
        {
            "keys": [
                {
                    "kty": "EC",
                    "crv": "P-256",
                    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
                    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
                    "kid": "2026-09",
                    "use": "sig",
                    "alg": "ES256",
                }
            ]
        }
    ),
)
async def public_keys(at: At, _: Public) -> JSONResponse:
    """The public keys that tokens are verified with: the next, the current, the last."""
    return JSONResponse(await at.keys.jwks(), headers=CACHED)


@router.get(
    "/oauth2/authorize",
    status_code=302,
    response_class=RedirectResponse,
    responses=page_errors(400),
    openapi_extra=query("client_id", *REQUEST, "request_uri"),
)
async def authorize(at: At, _: Public) -> Response:
    """Send the browser back to the client with a code, or to the login page first."""
    return await _authorize(at, at.query())


@router.post(
    "/oauth2/authorize",
    status_code=302,
    response_class=RedirectResponse,
    responses=page_errors(400),
    openapi_extra=form(*REQUEST, "request_uri", required=("client_id",)),
)
async def authorize_by_form(at: At, _: Public) -> Response:
    """The same with the parameters in a form, as OpenID Connect asks for."""
    return await _authorize(at, await at.form())


async def _authorize(at: Web, parameters: Parameters) -> Response:
    async with at.runtime.sessions() as session:
        login = await logins.current(session, at.cookie("beam_login"))
    request = asked(at, parameters)
    answer = await provide(at, lambda provider: provider.authorize(request, login, now()))
    if "Location" not in answer.headers:
        return error_page(at, str(answer.body["error"]))
    response = answered(answer)
    at.keep_view(response)
    return response


PUSHED = shown(
    {"request_uri": "urn:ietf:params:oauth:request_uri:5f2b6f0e9d6c", "expires_in": 590}, 201
)
PUSHED[201]["links"] = {
    "authorize": {
        "operationId": "authorize",
        "description": "Send the browser there with `client_id` and this `request_uri`",
    }
}


@router.post(
    "/oauth2/par",
    responses=PUSHED | oauth_errors(400, 401),
    openapi_extra=form(*REQUEST, *CLIENT[1:], required=("client_id",)),
)
async def push_request(at: At, _: SignedCallback) -> Response:
    """Take an authorization request from the client itself; a reference comes back (RFC 9126)."""
    request = asked(at, await at.form())
    return answered(await provide(at, lambda provider: provider.push(request), request))


@router.post(
    "/oauth2/token",
    responses=shown(
        {
            "access_token": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.e30.c2ln",
            "token_type": "Bearer",
            "expires_in": 600,
            "scope": "openid",
        }
    )
    | oauth_errors(400, 401),
    openapi_extra=form(
        *("code", "redirect_uri", "code_verifier", "refresh_token", "scope", "device_code"),
        *("subject_token", "subject_token_type", "actor_token", "actor_token_type"),
        *("audience", "resource", "requested_token_type", *CLIENT),
        required=("grant_type",),
        grant_type={"type": "string", "enum": list(GRANTS)},
    ),
)
async def token(at: At, _: SignedCallback) -> Response:
    """Exchange a code, a refresh token or a client's secret for tokens."""
    request = asked(at, await at.form())
    return answered(await provide(at, lambda provider: provider.token(request), request))


@router.post(
    "/oauth2/revoke",
    response_class=Response,
    responses=oauth_errors(400, 401),
    openapi_extra=form("token_type_hint", *CLIENT, required=("token",)),
)
async def revoke(at: At, _: SignedCallback) -> Response:
    """Give a token back (RFC 7009); a refresh token takes its whole family with it."""
    request = asked(at, await at.form())
    return answered(
        await provide(at, lambda provider: provider.endpoint("revocation", request), request)
    )


@router.post(
    "/oauth2/introspect",
    responses=shown({"active": False}) | oauth_errors(400, 401),
    openapi_extra=form("token_type_hint", *CLIENT, required=("token",)),
)
async def introspect(at: At, _: SignedCallback) -> Response:
    """Whether a token stands at this moment, and what it says (RFC 7662)."""
    request = asked(at, await at.form())
    return answered(
        await provide(at, lambda provider: provider.endpoint("introspection", request), request)
    )


@router.get("/oauth2/userinfo", responses=SOMEBODY)
async def userinfo(at: At, caller: Anyone) -> JSONResponse:
    """Who is signed in: the subject, and with the scope `profile` the masked name."""
    return await _userinfo(at, caller)


@router.post("/oauth2/userinfo", responses=SOMEBODY)
async def userinfo_by_post(at: At, caller: Anyone) -> JSONResponse:
    """The same by POST, as OpenID Connect asks for."""
    return await _userinfo(at, caller)


async def _userinfo(at: Web, caller: Caller) -> JSONResponse:
    async with at.runtime.sessions() as session:
        claims = {"jti": caller.jti}
        if not await session.run_sync(lambda plain: endpoints.is_live(plain, claims)):
            raise Unauthenticated(
                "登录已结束。请重新登录。",
                "The sign-in is over. Sign in again.",
                headers={"www-authenticate": 'Bearer error="invalid_token"'},
            )
        view: dict[str, Any] = {"sub": caller.subject, "kind": caller.kind, "acr": caller.level}
        if "profile" in caller.scopes:
            own = await accounts.own_view(session, at.runtime.vault, caller.subject)
            view["name"] = own["name"]
    return JSONResponse(view, headers={"cache-control": "no-store"})
