"""`/ops/dead-letters/<service>`: what its handlers gave up, and a button that tries one again.

The services do it (`/v1/ops/<service>/dead-letters`), asked with the operator's own token; without
script. A press changes something, so it must come from our own page: the token's cookie is
SameSite=Lax, and a browser that names another origin is refused.
"""

from urllib.parse import quote

import httpx
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from kit.auth import Caller, Public
from kit.errors import Forbidden, NotFound

from . import operators
from .pages import dead_letters as pages
from .pages import layout
from .pillars import ask, headers_for
from .table import SERVICES

router = APIRouter(include_in_schema=False)
SECONDS = 20.0
"""A handler that is tried again may take its time."""
HEADERS = {
    **layout.WITH_FORM,
    # With no referrer at all a form's Origin would be `null`.
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}


@router.get("/ops/dead-letters/{service}")
async def show(_: Public, request: Request, service: str) -> Response:
    """The service's open dead letters, newest first, at most 50."""
    caller = await operators.entered(request)
    if isinstance(caller, Response):
        return caller
    answer = await _ask(request, caller, service, _path(service))
    said = answer.json() if answer is not None and answer.status_code == 200 else None
    did = request.query_params.get("did", "")
    return layout.answer(request, lambda view: pages.render(service, said, did, view), HEADERS)


@router.post("/ops/dead-letters/{service}/{letter_id}/replay")
async def replay(_: Public, request: Request, service: str, letter_id: str) -> Response:
    """Runs the handler again; back to the list, which says how it went."""
    issuer = request.state.beam.settings.issuer
    if request.headers.get("origin") != issuer:
        raise Forbidden("请从运行状态页重新操作。", "Do this from the operators' page.")
    caller = await operators.entered(request)
    if isinstance(caller, Response):
        return caller
    path = f"{_path(service)}/{quote(letter_id)}/replay"
    answer = await _ask(request, caller, service, path, "POST")
    did = "away" if answer is None else _DID.get(answer.status_code, "refused")
    back = f"/ops/dead-letters/{service}?did={did}"
    return RedirectResponse(back, 303, headers={"cache-control": "no-store"})


_DID = {200: "done", 404: "gone", 409: "failed"}


def _path(service: str) -> str:
    if service not in SERVICES:
        raise NotFound("没有这个服务。", "There is no such service.")
    return f"/v1/ops/{service}/dead-letters"


async def _ask(
    request: Request, caller: Caller, service: str, path: str, method: str = "GET"
) -> httpx.Response | None:
    headers = await headers_for(caller, request.state.beam.own_token, request.state.probe.client)
    return await ask(request, service, path, headers, method=method, seconds=SECONDS)
