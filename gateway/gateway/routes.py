"""The gateway's own addresses: index page, health, merged API reference."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from importlib.resources import files

import httpx
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from kit.auth import Public
from kit.errors import NotFound

from .refusals import NAMES
from .settings import GatewaySettings
from .table import SERVICES

router = APIRouter()
PROBE_SECONDS = 1.0
PROBE_KEEP_SECONDS = 1.0

_STYLE = (
    "body{font:1.125rem/1.6 system-ui,sans-serif;max-width:42rem;margin:2rem auto;"
    "padding:0 1rem;color:#1a1a1a;background:#fff}a{color:#0b4f9e}li{margin:.3rem 0}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_SECURITY = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class Probe:
    """Which services answer `/health/ready`, asked at most once a second however often we are."""

    def __init__(self, settings: GatewaySettings, client: httpx.AsyncClient) -> None:
        self.settings, self.client = settings, client
        self._asked = float("-inf")
        self._degraded: list[str] = []
        self._lock = asyncio.Lock()

    async def _away(self, service: str) -> bool:
        url = self.settings.url_of(service) + "/health/ready"
        try:
            answer = await self.client.get(url)
        except httpx.HTTPError:
            return True
        return answer.status_code != 200

    async def degraded(self) -> list[str]:
        """Names of the services that are away or not ready, in the order of the table."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            if loop.time() - self._asked > PROBE_KEEP_SECONDS:
                away = await asyncio.gather(*(self._away(service) for service in SERVICES))
                self._degraded = [s for s, gone in zip(SERVICES, away, strict=True) if gone]
                self._asked = loop.time()
            return self._degraded


@asynccontextmanager
async def probing(settings: GatewaySettings) -> AsyncIterator[Probe]:
    async with httpx.AsyncClient(timeout=PROBE_SECONDS, trust_env=False) as client:
        yield Probe(settings, client)


@router.get("/health/live", summary="The process runs")
async def live(_: Public) -> JSONResponse:
    return JSONResponse({"status": "ok"})


@router.get("/health/ready", summary="The door is open; which services are away")
async def ready(_: Public, request: Request) -> JSONResponse:
    degraded = await request.state.probe.degraded()
    return JSONResponse({"status": "degraded" if degraded else "ok", "degraded": degraded})


def reference() -> bytes | None:
    """The merged OpenAPI document that lies in the package, if it has been generated."""
    file = files("gateway").joinpath("openapi.json")
    return file.read_bytes() if file.is_file() else None


@router.get("/openapi.json", summary="The API reference of all services")
async def openapi(_: Public) -> Response:
    document = reference()
    if document is None:
        raise NotFound("接口文档尚未生成。", "The API reference has not been generated.")
    return Response(document, media_type="application/json")


def page(lines: dict[str, bool]) -> str:
    """The index page: what this address is, where the reference is, how each pillar does."""
    pillars = "".join(
        f"<li>{escape(NAMES[service][0])}:{'暂不可用' if away else '正常'}</li>"
        for service, away in lines.items()
    )
    return (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>一网通办 · 一梁四柱</title><style>{_STYLE}</style></head><body><main>"
        "<h1>一网通办 · 一梁四柱</h1>"
        "<p>这里是全市政务服务的统一入口。应用通过此地址调用所有服务的接口。</p>"
        '<h2>接口</h2><ul><li><a href="/openapi.json">接口文档(OpenAPI JSON)</a></li>'
        '<li><a href="/v1/items">办事事项目录(JSON)</a></li>'
        '<li><a href="/.well-known/openid-configuration">统一身份配置(OpenID)</a></li></ul>'
        '<h2>运行状态</h2><ul><li><a href="/health/live">存活检查</a></li>'
        f'<li><a href="/health/ready">就绪检查</a></li></ul><ul>{pillars}</ul>'
        "</main></body></html>"
    )


@router.get("/", summary="Index page", response_class=HTMLResponse)
async def index(_: Public, request: Request) -> HTMLResponse:
    degraded = await request.state.probe.degraded()
    return HTMLResponse(page({s: s in degraded for s in SERVICES}), headers=_SECURITY)
