"""The page that asks before somebody else's application learns anything, and taking it back."""

from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from kit import routing
from kit.auth import Applicant, Public
from kit.clock import now
from kit.routing import Session

from .. import consents, logins
from ..provider import LOGIN, Asked
from ..schemas import Consents, ConsentView
from .oauth import provide
from .pages import error_page, page
from .waiting import waiting
from .web import At, answered

pages = APIRouter(tags=["login"], include_in_schema=False)
router = routing.router(prefix="/v1/me/consents", tags=["accounts"])
TELLS = {
    "openid": ("您在本平台的固定编号", "a fixed number that stands for you"),
    "profile": ("您的姓名(部分隐藏)和账户类型", "your name (partly hidden) and kind of account"),
}


@pages.get("/oauth2/consent")
async def consent_page(at: At, _: Public, return_to: str = "") -> Response:
    """Ask whether the application may know what it asks for."""
    request = await waiting(at, return_to)
    if request is None or not request.client_id:
        return error_page(at, "invalid_request")
    async with at.runtime.sessions() as session:
        login = await logins.current(session, at.cookie("beam_login"))
    if login is None:
        to = f"{LOGIN}?{urlencode({'return_to': return_to})}"
        return RedirectResponse(to, 303, {"cache-control": "no-store"})
    key = at.form_key()
    response = page(
        "consent.html",
        at,
        form_targets=f"'self' {request.origin}",
        client=request.name_en if at.english else request.name,
        origin=request.origin,
        tells=[TELLS[scope][at.english] for scope in request.scopes if scope in TELLS],
        csrf=at.form_token(key),
        return_to=return_to,
    )
    at.set_cookie(response, "beam_form", key)
    return response


@pages.post("/oauth2/consent")
async def decide_consent(at: At, _: Public) -> Response:
    """The person agrees, or does not."""
    sent = dict(await at.form())
    return_to = sent.get("return_to", "")
    if not at.form_holds(sent.get("csrf", "")):
        return error_page(at, "form_too_old")
    request = await waiting(at, return_to)
    if request is None or not request.client_id or sent.get("decision") not in ("agree", "deny"):
        return error_page(at, "invalid_request")
    if sent["decision"] == "deny":
        asked = Asked("GET", parse_qsl(return_to.partition("?")[2]), {})
        return answered(await provide(at, lambda provider: provider.deny(asked, now())))
    async with at.runtime.sessions.begin() as session:
        login = await logins.current(session, at.cookie("beam_login"))
        if login is not None:
            await consents.give(
                session,
                account_id=login.account_id,
                client_id=request.client_id,
                scopes=request.scopes,
            )
    return RedirectResponse(return_to, 303, {"cache-control": "no-store"})


@router.get("")
async def my_consents(session: Session, caller: Applicant) -> Consents:
    """The applications that the caller lets know something."""
    rows = await consents.of_account(session, caller.subject)
    return Consents(
        items=[
            ConsentView(
                client_id=client.client_id,
                name=client.name,
                name_en=client.name_en,
                scopes=consent.scopes,
                given_at=consent.given_at,
            )
            for consent, client in rows
        ]
    )


@router.post("/{client_id}/withdraw", status_code=204)
async def withdraw_consent(session: Session, client_id: str, caller: Applicant) -> None:
    """Take consent back: the application's tokens are refused from now on."""
    await consents.withdraw(session, account_id=caller.subject, client_id=client_id)
