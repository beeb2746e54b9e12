"""The way in by a provider above us: there, and back."""

import logging
from urllib.parse import urlencode

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from kit.auth import Public

from ..providers.upstream import Asking, Away, NotBelieved
from ..sign_in import upstream as sign_in
from .forms import signed_in
from .pages import error_page, page
from .waiting import waiting
from .web import At, Web

log = logging.getLogger(__name__)
router = APIRouter(tags=["login"], include_in_schema=False)
TEXTS = {
    "away": (
        "该登录方式暂时无法使用,您的账户没有受到影响。请稍后再试,或用手机号登录。",
        "This way in does not work at the moment; your account is not affected. Try again later, "
        "or sign in with your phone number.",
    ),
    "refused": ("您没有完成登录。", "You did not finish signing in there."),
    "not_believed": (
        "对方返回的登录信息无法确认,没有登录。请重新操作,或用手机号登录。",
        "What came back could not be verified, so nobody was signed in. Start again, or sign in "
        "with your phone number.",
    ),
    "not_enough": (
        "对方没有提供已核验的身份信息,或与本平台的登记不一致。请先用手机号登录或注册。",
        "No verified identity came with it, or it differs from what is registered here. Sign in or "
        "register with your phone number first.",
    ),
    "closed": ("此账户目前不能登录,请联系窗口。", "This account cannot sign in at present."),
}


@router.get("/oauth2/upstream")
async def leave(at: At, _: Public, return_to: str = "") -> Response:
    """To the provider above, if there is one."""
    if return_to and await waiting(at, return_to) is None:
        return error_page(at, "invalid_request")
    upstream = at.outside.upstream
    if upstream is None:
        return _told(at, "away", return_to, status=404)
    asking, key = Asking.new(), at.form_key()
    try:
        place = await upstream.address(asking)
    except Away as why:
        log.warning("the provider above is away: %s", why)
        return _told(at, "away", return_to, status=503)
    async with at.runtime.sessions.begin() as session:
        await sign_in.remember(session, at.runtime.vault, asking, browser=key, return_to=return_to)
    response = RedirectResponse(place, 303, {"cache-control": "no-store"})
    at.set_cookie(response, "beam_form", key)
    return response


@router.get("/oauth2/upstream/callback")
async def come_back(
    at: At,
    _: Public,
    state: str = "",
    code: str = "",
    error: str = "",
    iss: str | None = None,
) -> Response:
    """Back from the provider, with a code or without."""
    upstream, key = at.outside.upstream, at.cookie("beam_form")
    back = None
    if upstream is not None and key is not None and state:
        async with at.runtime.sessions.begin() as session:
            back = await sign_in.returned(session, at.runtime.vault, state[:200], key)
    if upstream is None or back is None or iss not in (None, upstream.issuer):
        return _told(at, "not_believed", "")
    if error or not code:
        return _told(at, "refused", back.return_to)
    try:
        claims = await upstream.claims(code[:4096], back.asking)
        async with at.runtime.sessions.begin() as session:
            cookie = await sign_in.sign_in(
                session, at.runtime.vault, at.settings, upstream.issuer, claims
            )
    except Away as why:
        log.warning("the provider above is away: %s", why)
        return _told(at, "away", back.return_to, status=503)
    except NotBelieved as why:
        log.warning("the provider above is not believed: %s", why)
        return _told(at, "not_believed", back.return_to)
    except sign_in.NotEnough:
        return _told(at, "not_enough", back.return_to, status=422)
    except sign_in.Closed:
        return _told(at, "closed", back.return_to, status=422)
    return signed_in(at, cookie, back.return_to)


def _told(at: Web, what: str, return_to: str, *, status: int = 400) -> HTMLResponse:
    others = (
        f"/oauth2/login?{urlencode({'return_to': return_to})}" if return_to else "/oauth2/login"
    )
    return page(
        "upstream.html",
        at,
        here=others,
        status=status,
        text=TEXTS[what][at.english],
        others=others,
    )
