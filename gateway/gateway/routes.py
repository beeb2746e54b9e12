"""The gateway's own addresses: index page and health."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape

import httpx
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse

from kit.auth import Public

from .pages import layout
from .refusals import NAMES
from .settings import GatewaySettings
from .table import SERVICES

router = APIRouter(include_in_schema=False)
PROBE_SECONDS = 1.0
PROBE_KEEP_SECONDS = 1.0


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


_REFERENCE = (
    ("/docs", "接口文档 · API reference"),
    ("/docs/events", "事件 · Events"),
    ("/docs/errors", "错误代码 · Problem codes"),
    ("/openapi.json", "接口文档(OpenAPI JSON)"),
    ("/v1/events/asyncapi.json", "事件(AsyncAPI JSON)"),
    ("/v1/items", "办事事项目录(JSON)"),
    ("/.well-known/openid-configuration", "统一身份配置(OpenID)"),
)


def _list(links: tuple[tuple[str, str], ...]) -> str:
    return "".join(f'<li><a href="{href}">{text}</a></li>' for href, text in links)


def page(lines: dict[str, bool]) -> str:
    """The index page: what this address is, where the reference is, how each pillar does."""
    pillars = "".join(
        f"<li>{escape(NAMES[service][0])}:{'暂不可用' if away else '正常'}</li>"
        for service, away in lines.items()
    )
    health = (("/health/live", "存活检查"), ("/health/ready", "就绪检查"))
    return layout.page(
        "一网通办 · 一梁四柱",
        "<p>这里是全市政务服务的统一入口。应用通过此地址调用所有服务的接口。</p>"
        f"<h2>接口</h2><ul>{_list(_REFERENCE)}</ul>"
        f"<h2>运行状态</h2><ul>{_list(health)}</ul><ul>{pillars}</ul>",
    )


@router.get("/", summary="Index page", response_class=HTMLResponse)
async def index(_: Public, request: Request) -> HTMLResponse:
    degraded = await request.state.probe.degraded()
    return HTMLResponse(page({s: s in degraded for s in SERVICES}), headers=layout.PLAIN)
