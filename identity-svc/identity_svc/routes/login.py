"""The login page and signing out: forms with a token of their own, working without script."""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from kit.auth import Public
from kit.errors import TooMany
from kit.jose import BadToken

from .. import logins
from ..models import Client
from ..sign_in import passkeys
from .forms import Problems, form, signed_in, too_old
from .pages import error_page, page
from .waiting import waiting
from .web import At, Web

router = APIRouter(tags=["login"], include_in_schema=False)
LOGIN = "/oauth2/login"


async def _page(
    at: Web,
    return_to: str,
    *,
    login: str = "",
    problems: Problems | None = None,
    status: int = 200,
) -> HTMLResponse:
    """The login page; with a button for passkeys where browsers know them."""
    place, key = passkeys.Place.of(at.settings.issuer), at.form_key()
    passkey = passkeys.challenge(at.runtime.vault, "sign_in", key) if place.offered else ""
    return await form(
        at,
        "login.html",
        LOGIN,
        return_to,
        status=status,
        problems=problems,
        key=key,
        script=f"{place.origin}/oauth2/passkey.js" if passkey else "",
        login=login,
        passkey=passkey,
        rp=place.host,
    )


async def again(
    at: Web,
    return_to: str,
    problems: Problems,
    status: int = 422,
    *,
    login: str = "",
) -> HTMLResponse:
    """The login page once more, with what was typed, the password excepted."""
    return await _page(at, return_to, login=login, problems=problems, status=status)


@router.get("/oauth2/login")
async def login_page(at: At, _: Public, return_to: str = "") -> HTMLResponse:
    """The login page."""
    return await _page(at, return_to)


@router.post("/oauth2/login")
async def sign_in(at: At, _: Public) -> Response:
    """Sign in and go on to where the person wanted to go."""
    sent = dict(await at.form())
    login, password = sent.get("login", "").strip()[:64], sent.get("password", "")
    return_to, t = sent.get("return_to", ""), at.t
    if not at.form_holds(sent.get("csrf", "")):
        return await again(at, return_to, [("login", too_old(at))])
    missing: Problems = []
    if not login:
        missing.append(("login", t("请填写手机号或工号。", "Enter your phone or staff number.")))
    if not password:
        missing.append(("password", t("请填写密码。", "Enter your password.")))
    if missing:
        return await again(at, return_to, missing, login=login)
    if return_to and await waiting(at, return_to) is None:
        return error_page(at, "invalid_request")
    try:
        cookie = await logins.sign_in(at.door, login=login, password=password, address=at.address())
    except (logins.WrongLogin, TooMany) as problem:
        status = 429 if isinstance(problem, TooMany) else 422
        told = [("login", t(problem.zh, problem.en))]
        response = await again(at, return_to, told, status, login=login)
        response.headers.update(problem.headers)
        return response
    return signed_in(at, cookie, return_to)


@router.get("/oauth2/logout")
async def logout_page(
    at: At,
    _: Public,
    id_token_hint: str = "",
    client_id: str = "",
    post_logout_redirect_uri: str = "",
    state: str = "",
) -> Response:
    """RP-initiated logout: at once with a good id_token_hint of this sign-in, else ask first."""
    back = await _logout_target(at, client_id, id_token_hint, post_logout_redirect_uri, state)
    async with at.runtime.sessions() as session:
        login = await logins.current(session, at.cookie("beam_login"))
    claims = await _hint(at, id_token_hint, client_id)
    if login is None or (claims is not None and claims.get("sid") == login.id):
        return await _signed_out(at, back)
    key = at.form_key()
    place = urlsplit(back)
    response = page(
        "logout.html",
        at,
        form_targets=f"'self' {place.scheme}://{place.netloc}" if back else "'self'",
        done=False,
        csrf=at.form_token(key),
        return_to=urlencode({"client_id": client_id, "to": back}) if back else "",
    )
    at.set_cookie(response, "beam_form", key)
    return response


@router.post("/oauth2/logout")
async def sign_out(at: At, _: Public) -> Response:
    """Sign out, after the person said so."""
    sent = dict(await at.form())
    if not at.form_holds(sent.get("csrf", "")):
        return error_page(at, "form_too_old")
    kept = dict(parse_qsl(sent.get("return_to", "")))
    address, _mark, _query = kept.get("to", "").partition("?")
    allowed = await _logout_target(at, kept.get("client_id", ""), "", address, "")
    return await _signed_out(at, kept["to"] if allowed else "")


async def _signed_out(at: Web, back: str) -> Response:
    async with at.runtime.sessions.begin() as session:
        login = await logins.current(session, at.cookie("beam_login"))
        if login is not None:
            await logins.sign_out(session, login)
    response: Response = RedirectResponse(back, 303) if back else page("logout.html", at, done=True)
    at.drop_cookie(response, "beam_login")
    return response


async def _hint(at: Web, token: str, client_id: str) -> dict[str, Any] | None:
    """The claims of an id_token of ours; None for anything else."""
    if not token or not client_id:
        return None
    try:
        return (await at.keys.verifying()).verify(
            token, issuer=at.settings.issuer, audience=client_id, typ="jwt"
        )
    except BadToken:
        return None


async def _logout_target(at: Web, client_id: str, hint: str, uri: str, state: str) -> str:
    """Where to go afterwards: only to an address that the client registered for it."""
    if not uri or not client_id or not client_id.isprintable():
        return ""
    async with at.runtime.sessions() as session:
        client = await session.get(Client, client_id)
    if client is None or uri not in client.logout_uris:
        return ""
    return f"{uri}?{urlencode({'state': state})}" if state else uri
