"""exchange-svc: the feed of events, departments' systems, and everybody's matters."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from kit.app import create_app as create
from kit.runtime import Runtime

from . import heads, jobs, partners, routes, subscribers
from .settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or Settings()
    codes = [code.strip() for code in settings.partner_depts.split(",") if code.strip()]

    @contextlib.asynccontextmanager
    async def setup(runtime: Runtime) -> AsyncIterator[None]:
        async with runtime.sessions.begin() as session:
            await partners.register_configured(session, codes)
        yield

    return create(
        settings,
        title="exchange-svc",
        routers=[routes.events, routes.partners, routes.matters],
        on=subscribers.on,
        jobs=jobs.jobs,
        setup=setup,
        checks={"audit_heads": heads.check},
    )
