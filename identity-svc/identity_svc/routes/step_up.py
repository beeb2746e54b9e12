"""Proving more of oneself, step by step, until a client's `acr_values` are reached."""

from urllib.parse import urlencode

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from kit.auth import Public
from kit.errors import Problem
from kit.secrets import mask_id_number, mask_name, mask_phone

from .. import accounts, levels, logins, phone_codes
from ..models import Account, LoginSession
from ..provider import LOGIN
from .pages import error_page, page
from .waiting import waiting
from .web import At, Web

router = APIRouter(tags=["login"], include_in_schema=False)
NOT_SENT = ("短信没有发出。请一分钟后再试。", "No message went out. Try again in a minute.")
NO_STORE = {"cache-control": "no-store"}


@router.get("/oauth2/step-up")
async def step_up_page(at: At, _: Public, return_to: str = "") -> Response:
    """The next thing to prove, or back to the client when nothing is left."""
    return await _next(at, return_to)


@router.post("/oauth2/step-up")
async def step_up(at: At, _: Public) -> Response:
    """Send a code, take a code, or have the name checked, as the form says."""
    sent = dict(await at.form())
    return_to = sent.get("return_to", "")
    if not at.form_holds(sent.get("csrf", "")):
        return error_page(at, "form_too_old")
    async with at.runtime.sessions() as session:
        login = await logins.current(session, at.cookie("beam_login"))
        account = await session.get(Account, login.account_id) if login else None
        phone = accounts.phone_of(at.runtime.vault, account) if account else None
    if login is None:
        return await _next(at, return_to)
    code_id, trouble, status = sent.get("code_id", "")[:80], "", 422
    try:
        match sent.get("step"):
            case "send" if phone:
                code_id, outcome = await phone_codes.send(
                    at.runtime.sessions,
                    at.runtime.vault,
                    at.outside.messages,
                    phone=phone,
                    purpose="step_up",
                    address=at.address(),
                    per_address=at.settings.codes_per_address,
                )
                if outcome == "refused":
                    code_id, status = "", 503
                    trouble = NOT_SENT[at.english]
            case "code" if phone:
                await _take_code(at, login, phone, code_id, sent.get("code", "").strip())
                code_id = ""
            case "name":
                await levels.check_name(
                    at.runtime.sessions, at.runtime.vault, at.outside.names, login.id
                )
            case _:
                return error_page(at, "invalid_request")
    except Problem as problem:
        trouble, status = at.t(problem.zh, problem.en), problem.status
    return await _next(at, return_to, code_id=code_id, trouble=trouble, status=status)


async def _take_code(at: Web, login: LoginSession, phone: str, code_id: str, code: str) -> None:
    async with at.runtime.sessions.begin() as session:
        right = await phone_codes.use(
            session, at.runtime.vault, code_id=code_id, code=code, phone=phone, purpose="step_up"
        )
        if right:
            await levels.phone_proven(session, login)
    if not right:
        raise phone_codes.wrong_code()


async def _next(
    at: Web,
    return_to: str,
    *,
    code_id: str = "",
    trouble: str = "",
    status: int = 422,
) -> Response:
    request = await waiting(at, return_to)
    if request is None:
        return error_page(at, "invalid_request")
    async with at.runtime.sessions.begin() as session:
        login = await logins.current(session, at.cookie("beam_login"))
        account = await session.get(Account, login.account_id) if login else None
        if login is not None and account is not None and login.acr < account.level:
            login.acr = account.level  # it rose in another browser
    if login is None or account is None:
        return RedirectResponse(f"{LOGIN}?{urlencode({'return_to': return_to})}", 303, NO_STORE)
    if login.acr >= request.level:
        return RedirectResponse(return_to, 303, NO_STORE)
    key = at.form_key()
    response: HTMLResponse = page(
        "step_up.html",
        at,
        status=status if trouble else 200,
        form_targets=f"'self' {request.origin}",
        client=request.name_en if at.english else request.name,
        csrf=at.form_token(key),
        return_to=return_to,
        code_id=code_id,
        trouble=trouble,
        **_about(at, account),
    )
    at.set_cookie(response, "beam_form", key)
    return response


def _about(at: Web, account: Account) -> dict[str, str]:
    """What the page shows of the account, masked, and the step that comes next."""
    vault = at.runtime.vault
    name, number = accounts.name_and_number(vault, account)
    phone = accounts.phone_of(vault, account)
    step = "name" if account.level >= "L1" else "phone"
    if (step == "phone" and not phone) or (step == "name" and not number):
        step = "counter"
    return {
        "step": step,
        "name": mask_name(name),
        "number": mask_id_number(number) if number else "",
        "phone": mask_phone(phone) if phone else "",
    }
