"""A counter terminal signs somebody in: where it asks, and the page on which the person agrees."""

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from kit.auth import Public, SignedCallback
from kit.clock import now
from kit.errors import TooMany
from kit.samples import shown

from .. import attempts, devices, logins
from ..models import Client, DeviceRequest
from ..provider import DEVICE_PAGE, LOGIN
from .consent import TELLS
from .declared import CLIENT, form, oauth_errors
from .oauth import asked, provide
from .pages import error_page, page
from .web import At, Web, answered

router = APIRouter(tags=["oauth2"])
pages = APIRouter(tags=["login"], include_in_schema=False)
NO_STORE = {"cache-control": "no-store"}
ASKED_PER_ADDRESS = 60
"""Terminals of a hall stand behind one address; within `tries_minutes`."""


@router.post(
    "/oauth2/device_authorization",
    responses=shown(
        {
            "device_code": "5f2b6f0e9d6c4c3c8f6e0a1b2c3d4e5f",
            "user_code": "WDJB-MJHT",
            "verification_uri": "https://beam.example/oauth2/device",
            "expires_in": 600,
            "interval": 5,
        }
    )
    | oauth_errors(400, 401, 429),
    openapi_extra=form("scope", *CLIENT[1:], required=("client_id",)),
)
async def device_authorization(at: At, _: SignedCallback) -> Response:
    """A device without keyboard asks for a sign-in: a code for it, a short one for the person
    (RFC 8628)."""
    request, hashed = asked(at, await at.form()), at.runtime.vault.index
    try:
        await _count(at, f"device asks|{at.address()}", ASKED_PER_ADDRESS)
    except TooMany as problem:
        told = {"error": "slow_down", "error_description": problem.en}
        return JSONResponse(told, 429, {**problem.headers, **NO_STORE})
    return answered(await provide(at, lambda provider: provider.device(request, hashed), request))


@pages.get("/oauth2/device")
async def device_page(at: At, _: Public, user_code: str = "") -> Response:
    """Type in the code that the terminal shows."""
    return await _form(at, user_code[:40])


@pages.post("/oauth2/device")
async def decide_device(at: At, _: Public) -> Response:
    """Look the code up; then agree or not."""
    sent = dict(await at.form())
    code = sent.get("user_code", "")[:40]
    if not at.form_holds(sent.get("csrf", "")):
        return error_page(at, "form_too_old")
    async with at.runtime.sessions() as session:
        login = await logins.current(session, at.cookie("beam_login"))
    if login is None:
        return _to_login(code)
    try:
        await _count(at, f"device|{login.account_id}", at.settings.tries_per_account)
        await _count(at, f"device|{at.address()}", at.settings.tries_per_address)
    except TooMany as problem:
        told = at.t(problem.zh, problem.en)
        answer = await _form(at, code, trouble=told, status=429)
        answer.headers.update(problem.headers)
        return answer
    decision = sent.get("decision")
    async with at.runtime.sessions.begin() as session:
        row = await devices.find(session, at.runtime.vault.index, code)
        client = await session.get(Client, row.client_id) if row is not None else None
        if row is not None and client is not None and client.active:
            if decision == "agree":
                hours = at.settings.session_hours
                await devices.approve(session, row, client, login, hours)
            elif decision == "deny":
                row.state = "denied"
    if row is None or client is None or not client.active:
        wrong = at.t(
            "没有找到这个代码。请核对终端上显示的代码,或在终端上重新开始。",
            "There is no such code. Compare it with the terminal, or start again there.",
        )
        return await _form(at, code, trouble=wrong, status=422)
    if decision in ("agree", "deny"):
        done = "agreed" if decision == "agree" else "denied"
        return page("device.html", at, step=done)
    return _confirm(at, row, client, code)


async def _count(at: Web, what: str, limit: int) -> None:
    async with at.runtime.sessions.begin() as session:
        await attempts.take(
            session,
            at.runtime.vault.index(what),
            limit=limit,
            now=now(),
            minutes=at.settings.tries_minutes,
        )


def _to_login(code: str) -> Response:
    here = f"{DEVICE_PAGE}?{urlencode({'user_code': code})}" if code else DEVICE_PAGE
    return RedirectResponse(f"{LOGIN}?{urlencode({'return_to': here})}", 303, NO_STORE)


async def _form(at: Web, code: str, *, trouble: str = "", status: int = 200) -> Response:
    async with at.runtime.sessions() as session:
        login = await logins.current(session, at.cookie("beam_login"))
    if login is None:
        return _to_login(code)
    return _page(
        at,
        status=status,
        step="code",
        code=code,
        trouble=trouble,
    )


def _confirm(at: Web, row: DeviceRequest, client: Client, code: str) -> HTMLResponse:
    return _page(
        at,
        step="confirm",
        code=devices.shown(devices.normal(code)),
        client=client.name_en if at.english else client.name,
        tells=[TELLS[scope][at.english] for scope in row.scope.split() if scope in TELLS],
    )


def _page(at: Web, **fields: Any) -> HTMLResponse:
    key = at.form_key()
    response = page("device.html", at, csrf=at.form_token(key), **fields)
    at.set_cookie(response, "beam_form", key)
    return response
