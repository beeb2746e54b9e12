"""catalog-svc: the items of service (事项), how they are found, the calendar of working days."""

from fastapi import FastAPI

from kit.app import create_app as assemble

from . import jobs, routes
from .settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    return assemble(
        settings or Settings(),
        title="事项目录 catalog-svc",
        routers=[routes.public.router, routes.wording.router, routes.staff.router],
        jobs=jobs.jobs,
        setup=jobs.with_misses,
    )
