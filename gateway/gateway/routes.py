"""The gateway's own addresses: index page and health."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape

import httpx
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse

from kit.auth import Public
from kit.views import View

from .pages import guide, layout
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
    ("/docs", ("接口文档", "API reference")),
    ("/docs/events", ("事件", "Events")),
    ("/docs/errors", ("错误代码", "Problem codes")),
    ("/openapi.json", ("接口文档(OpenAPI JSON)", "API reference (OpenAPI JSON)")),
    ("/v1/events/asyncapi.json", ("事件(AsyncAPI JSON)", "Events (AsyncAPI JSON)")),
    ("/v1/items", ("办事事项目录(JSON)", "Catalogue of items (JSON)")),
    ("/.well-known/openid-configuration", ("统一身份配置(OpenID)", "Sign-on (OpenID)")),
)
_HEALTH = (
    ("/health/live", ("存活检查", "The door runs")),
    ("/health/ready", ("就绪检查", "The door is open")),
)
_STATES = (("正常", "working"), ("暂不可用", "away"))


def page(lines: dict[str, bool], view: View) -> str:
    """The index page: what this address is, where the reference is, how each pillar does."""
    t = view.t

    def links(known: tuple[tuple[str, tuple[str, str]], ...]) -> str:
        return "".join(f'<li><a href="{href}">{t(*text)}</a></li>' for href, text in known)

    pillars = "".join(
        f"<li>{escape(t(*NAMES[service]))}{t(':', ': ')}{t(*_STATES[away])}</li>"
        for service, away in lines.items()
    )
    about = t("这里是全市政务服务的统一入口。", "The one door to all services of the city.")
    for_apps = t("应用通过此地址调用所有服务的接口。", "Apps call every service at this address.")
    return layout.page(
        t("一网通办 · 一梁四柱", "One Beam"),
        f"<p>{about}</p>{guide.search(view)}{guide.examples(view)}"
        f"<h2>{t('接口', 'For developers')}</h2><p>{for_apps}</p><ul>{links(_REFERENCE)}</ul>"
        f"<h2>{t('运行状态', 'How it does')}</h2><ul>{links(_HEALTH)}</ul><ul>{pillars}</ul>",
        view,
        layout.switches(view, "/", language=True),
    )


@router.get("/", summary="Index page", response_class=HTMLResponse)
async def index(_: Public, request: Request) -> HTMLResponse:
    degraded = await request.state.probe.degraded()
    lines = {service: service in degraded for service in SERVICES}
    return layout.answer(request, lambda view: page(lines, view), layout.WITH_FORM)
