"""The reference for developers: API, events, problem codes. All lies in the package; a browser
asks nobody else for anything."""

import gzip
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from kit.auth import Public
from kit.errors import NotFound
from kit.samples import shown
from kit.views import View

from .pages import errors, events, layout

router = APIRouter(include_in_schema=False)
events_router = APIRouter(tags=["events"])
"""What of it stands in the API reference itself."""

_ASSETS = {
    "swagger-ui-bundle.js": ("pages/vendor/swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": ("pages/vendor/swagger-ui.css", "text/css"),
    "start.js": ("pages/start.js", "text/javascript"),
    "docs.css": ("pages/docs.css", "text/css"),
    "large.css": ("pages/large.css", "text/css"),
}


@cache
def published(name: str) -> bytes:
    """A document that `beam contracts` wrote into the package. Raises NotFound before it has."""
    file = files("gateway").joinpath(name)
    if not file.is_file():
        raise NotFound("接口文档尚未生成。", "The reference has not been generated.")
    return file.read_bytes()


@cache
def _packed(content: bytes) -> tuple[bytes, str]:
    """The same for who takes gzip, a tenth of the size or less, and the tag of both."""
    return gzip.compress(content, mtime=0), f'W/"{hashlib.sha256(content).hexdigest()[:20]}"'


def _file(request: Request, content: bytes, kind: str, seconds: int) -> Response:
    """A file of the package: kept by clients for so many seconds, then asked for by its tag."""
    small, tag = _packed(content)
    headers = {
        "etag": tag,
        "cache-control": f"public, max-age={seconds}",
        "vary": "accept-encoding",
    }
    if tag in {one.strip() for one in request.headers.get("if-none-match", "").split(",")}:
        return Response(status_code=304, headers=headers)
    if takes_gzip(request.headers.get("accept-encoding", "")):
        return Response(small, media_type=kind, headers=headers | {"content-encoding": "gzip"})
    return Response(content, media_type=kind, headers=headers)


def takes_gzip(accepted: str) -> bool:
    """What `Accept-Encoding` says of gzip (RFC 9110, 12.5.3); `q=0` is a no."""
    for part in accepted.lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "").rstrip("0.") != "q="
    return False


@cache
def _docs_page(view: View) -> str:
    large = '<link rel="stylesheet" href="/docs/assets/large.css">' if view.large else ""
    return (
        f"{layout.HEAD.format(lang='zh-CN')}<title>接口文档 · API reference</title>"
        '<link rel="stylesheet" href="/docs/assets/swagger-ui.css">'
        f'<link rel="stylesheet" href="/docs/assets/docs.css">{large}</head><body>'
        f"<header>{layout.switches(view, '/docs')}</header>"
        '<p class="others"><a href="/">一网通办</a> · <a href="/docs/events">事件 Events</a> · '
        '<a href="/docs/errors">错误代码 Problem codes</a> · '
        '<a href="/openapi.json">OpenAPI JSON</a></p><noscript><p>此页需要 JavaScript,'
        "也可直接下载 OpenAPI JSON。This page needs JavaScript; the JSON does not.</p></noscript>"
        '<div id="reference"></div>'
        '<script src="/docs/assets/swagger-ui-bundle.js"></script>'
        '<script src="/docs/assets/start.js"></script></body></html>'
    )


@cache
def _events_page(view: View) -> str:
    document: dict[str, Any] = json.loads(published("asyncapi.json"))
    return events.render(document, view)


@cache
def _errors_page(view: View) -> str:
    listed: list[dict[str, Any]] = json.loads(published("errors.json"))
    return errors.render(listed, view)


@router.get("/openapi.json")
async def openapi(_: Public, request: Request) -> Response:
    """The API reference of all services."""
    return _file(request, published("openapi.json"), "application/json", 60)


@events_router.get(
    "/v1/events/asyncapi.json",
    operation_id="get_asyncapi",
    response_class=JSONResponse,
    responses=shown({"asyncapi": "3.0.0", "info": {"title": "One Beam events", "version": "1"}}),
)
async def asyncapi(_: Public, request: Request) -> Response:
    """All events, who sends and who hears them (AsyncAPI 3)."""
    return _file(request, published("asyncapi.json"), "application/json", 60)


@router.get("/docs")
async def docs(_: Public, request: Request) -> HTMLResponse:
    """The API reference to read and to try."""
    return layout.answer(request, _docs_page, layout.WITH_SCRIPT, both=True)


@router.get("/docs/events")
async def docs_events(_: Public, request: Request) -> HTMLResponse:
    """Every event as a page."""
    return layout.answer(request, _events_page, both=True)


@router.get("/docs/errors")
async def docs_errors(_: Public, request: Request) -> HTMLResponse:
    """Every problem code as a page."""
    return layout.answer(request, _errors_page, both=True)


@cache
def _asset(name: str) -> tuple[bytes, str]:
    if name not in _ASSETS:
        raise NotFound("没有这个地址。请对照接口文档。", "There is no such address here.")
    path, kind = _ASSETS[name]
    return files("gateway").joinpath(path).read_bytes(), kind


@router.get("/docs/assets/{name}")
async def asset(_: Public, request: Request, name: str) -> Response:
    """Script and style of the API reference."""
    return _file(request, *_asset(name), 3600)
