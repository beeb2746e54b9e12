"""`/ops`: the operators' page in a browser, without script.

The person signs in at identity as in any app (code with PKCE); the access token then lies in a
cookie of this page alone, as long as it lives. There is nothing to do on this page but to
sign out, so a request forged by another site does no more than that; see `dead_letters.py` for the
one that does more.
"""

import base64
import hashlib
import secrets
from urllib.parse import urlencode

import httpx
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from kit.auth import Caller, Public
from kit.errors import Unauthenticated

from . import ops
from .pages import layout, operators

router = APIRouter(include_in_schema=False)
CLIENT = "operators-page"
TOKEN, PENDING = "beam_ops", "beam_ops_sign_in"
SIGN_IN_SECONDS = 600


@router.get("/ops")
async def show(_: Public, request: Request) -> Response:
    """How the platform does, for a person; who is not signed in is sent to sign in."""
    caller = await entered(request)
    if isinstance(caller, Response):
        return caller
    probe = request.state.probe
    said = await ops.overview(probe, request.state.beam, caller)
    answer = layout.answer(request, lambda view: operators.render(said, view))
    answer.headers["cache-control"] = "no-store"
    return answer


async def entered(request: Request) -> Caller | Response:
    """The operator whom the page's cookie names; else where to sign in, or that it is not for
    him."""
    token = request.cookies.get(TOKEN)
    if token is None:
        return _to_sign_in(request)
    try:
        caller: Caller = await request.app.state.runtime.keyring.verify(token)
    except Unauthenticated:
        return _to_sign_in(request)
    if caller.kind != "staff" or "operator" not in caller.roles or caller.jkt is not None:
        return _say(
            request,
            403,
            ("此页面向运维人员", "This page is for operators"),
            (
                "您现在以别的账号登录。请先退出,再用运维账号打开 /ops。",
                "You are signed in with another account. Sign out, then open /ops as an operator.",
            ),
            (operators.SIGN_OUT, operators.SIGN_OUT_TEXT),
        )
    return caller


@router.get("/ops/signed-in")
async def signed_in(_: Public, request: Request) -> Response:
    """Where identity sends the person back with a code."""
    state, _dot, verifier = request.cookies.get(PENDING, "").partition(".")
    query = request.query_params
    code = query.get("code", "")
    if not (code and state) or not secrets.compare_digest(
        state.encode(), query.get("state", "").encode()
    ):
        return _failed(request)
    settings = request.state.beam.settings
    form = {
        "grant_type": "authorization_code",
        "client_id": CLIENT,
        "code": code,
        "redirect_uri": f"{settings.issuer}/ops/signed-in",
        "code_verifier": verifier,
    }
    try:
        answer = await request.state.probe.client.post(settings.token_url, data=form, timeout=5)
        said = answer.json()
        token, life = str(said["access_token"]), int(said["expires_in"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return _failed(request)
    response = RedirectResponse("/ops", 303, headers={"cache-control": "no-store"})
    _keep(response, request, TOKEN, token, life)
    _keep(response, request, PENDING, "", 0)
    return response


@router.get(operators.SIGN_OUT)
async def sign_out(_: Public, request: Request) -> Response:
    """Forgets the token of this page, and goes on to where identity asks whether to sign out."""
    issuer = request.state.beam.settings.issuer
    response = RedirectResponse(
        f"{issuer}/oauth2/logout", 303, headers={"cache-control": "no-store"}
    )
    _keep(response, request, TOKEN, "", 0)
    return response


def _to_sign_in(request: Request) -> Response:
    settings = request.state.beam.settings
    state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    asked = {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": f"{settings.issuer}/ops/signed-in",
        "scope": "openid",
        "state": state,
        "code_challenge": challenge.rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    address = f"{settings.issuer}/oauth2/authorize?{urlencode(asked)}"
    response = RedirectResponse(address, 303, headers={"cache-control": "no-store"})
    _keep(response, request, PENDING, f"{state}.{verifier}", SIGN_IN_SECONDS)
    return response


def _keep(response: Response, request: Request, name: str, value: str, seconds: int) -> None:
    secure = request.state.beam.settings.issuer.startswith("https://")
    response.set_cookie(
        name, value, max_age=seconds, path="/ops", secure=secure, httponly=True, samesite="lax"
    )


def _failed(request: Request) -> Response:
    return _say(
        request,
        400,
        ("登录没有完成", "The sign-in was not finished"),
        ("链接已失效或来自别处。请重新打开。", "The link is old or from elsewhere. Open it again."),
        ("/ops", ("运行状态页", "How the platform does")),
    )


def _say(
    request: Request,
    status: int,
    title: tuple[str, str],
    sentence: tuple[str, str],
    link: tuple[str, tuple[str, str]],
) -> HTMLResponse:
    """A page of one sentence and the one `link` that leads on."""
    href, text = link
    answer = layout.answer(
        request,
        lambda view: layout.page(
            view.t(*title),
            f'<p>{view.t(*sentence)}</p><p><a href="{href}">{view.t(*text)}</a></p>',
            view,
            layout.switches(view, "/ops", language=True),
        ),
    )
    answer.status_code = status
    answer.headers["cache-control"] = "no-store"
    return answer
