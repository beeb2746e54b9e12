"""The page on which a person chooses for whom to act: himself, a firm, somebody's mandate."""

from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from kit.auth import Caller, Public

from .. import acting, logins, principals, pushed
from ..provider import AUTHORIZE, LOGIN
from .pages import error_page, page
from .waiting import waiting
from .web import At

router = APIRouter(tags=["login"], include_in_schema=False)
NO_STORE = {"cache-control": "no-store"}
ROLES = {
    "legal_representative": ("法定代表人", "legal representative"),
    "administrator": ("企业管理员", "administrator"),
    "agent": ("经办人", "agent"),
    "mandate": ("受托", "under a mandate"),
}


@router.get("/oauth2/acting")
async def acting_page(at: At, _: Public, return_to: str = "") -> Response:
    """Show for whom the person may act."""
    request = await waiting(at, return_to)
    if request is None:
        return error_page(at, "invalid_request")
    async with at.runtime.sessions() as session:
        login = await logins.current(session, at.cookie("beam_login"))
        if login is None:
            to = f"{LOGIN}?{urlencode({'return_to': return_to})}"
            return RedirectResponse(to, 303, NO_STORE)
        caller = Caller(subject=login.account_id, kind="person")
        found = await principals.of(session, at.runtime.vault, caller)
    key = at.form_key()
    response = page(
        "acting.html",
        at,
        form_targets=f"'self' {request.origin}",
        client=request.name_en if at.english else request.name,
        choices=_choices(found["items"], english=at.english),
        csrf=at.form_token(key),
        return_to=return_to,
    )
    at.set_cookie(response, "beam_form", key)
    return response


def _choices(items: list[dict[str, Any]], *, english: bool) -> list[dict[str, str]]:
    itself = {"act_for": acting.SELF, "name": "Myself" if english else "本人", "why": ""}
    others = [
        {
            "act_for": item["act_for"],
            "name": item["name"],
            "why": " ".join([ROLES[item["role"]][english], *(item["item_codes"] or [])]),
        }
        for item in items
    ]
    return [itself, *others]


@router.post("/oauth2/acting")
async def choose_acting(at: At, _: Public) -> Response:
    """Go on with the choice; whether the person may is decided with the code and every token."""
    sent = dict(await at.form())
    return_to, choice = sent.get("return_to", ""), sent.get("act_for", "")[:80]
    if not at.form_holds(sent.get("csrf", "")):
        return error_page(at, "form_too_old")
    request = await waiting(at, return_to)
    if request is None or choice in ("", acting.CHOOSE):
        return error_page(at, "invalid_request")
    fields = dict(parse_qsl(return_to.partition("?")[2]))
    if "request_uri" in fields:
        async with at.runtime.sessions.begin() as session:
            if await logins.current(session, at.cookie("beam_login")) is None:
                return error_page(at, "invalid_request")
            await pushed.change(session, fields["request_uri"], act_for=choice)
    else:
        fields["act_for"] = choice
    return RedirectResponse(f"{AUTHORIZE}?{urlencode(fields)}", 303, NO_STORE)
