"""`/find` and `/items/<code>`: what the city does for people, found by everyday words and told in
plain ones. Public pages of the catalogue's own answers, without script; nothing is kept here."""

from typing import Any
from urllib.parse import quote, urlencode

import httpx
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from kit.auth import Public
from kit.errors import NotFound

from .pages import guide, layout
from .pillars import ask, ids

router = APIRouter(include_in_schema=False)
SECONDS = 3.0
SHOWN = 20
LONGEST = 60
"""Characters of a query that are looked at; nobody's everyday words are longer."""


@router.get("/find")
async def find(_: Public, request: Request, q: str = "", cursor: str = "") -> HTMLResponse:
    """Items that fit everyday words, best first; without words all of them."""
    q = q.strip()[:LONGEST]
    asked = {"limit": str(SHOWN)} | ({"q": q} if q else {})
    place = {"cursor": cursor} if cursor else {}
    answer = await _catalogue(request, f"/v1/items?{urlencode(asked | place)}")
    if answer is not None and answer.status_code == 400 and cursor:
        # A place in a list that is no more: from its beginning.
        answer = await _catalogue(request, f"/v1/items?{urlencode(asked)}")
    if answer is None or answer.status_code >= 500:
        return _away(request)
    # What the catalogue does not take as a query fits nothing.
    said: dict[str, Any] = answer.json() if answer.status_code == 200 else {"items": []}
    return layout.answer(request, lambda view: guide.found(q, said, view), layout.WITH_FORM)


@router.get("/items/{code}")
async def show(_: Public, request: Request, code: str) -> HTMLResponse:
    """One item: who may, what it costs, how long it takes, what is asked for and what is not."""
    answer = await _catalogue(request, f"/v1/items/{quote(code, safe='')}")
    if answer is None or answer.status_code >= 500:
        return _away(request)
    if answer.status_code != 200:
        raise NotFound("没有这个事项。", "There is no such item.")
    said: dict[str, Any] = answer.json()
    return layout.answer(request, lambda view: guide.item(said, view), layout.WITH_FORM)


async def _catalogue(request: Request, path: str) -> httpx.Response | None:
    return await ask(request, "catalog", path, ids(), seconds=SECONDS)


def _away(request: Request) -> HTMLResponse:
    here = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    answer = layout.answer(request, lambda view: guide.away(here, view), layout.WITH_FORM)
    answer.status_code = 503
    answer.headers.update({"retry-after": "5", "cache-control": "no-store"})
    return answer
