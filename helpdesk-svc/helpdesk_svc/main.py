"""helpdesk-svc 统一总客服, assembled."""

from fastapi import FastAPI

from kit import holdings as doors
from kit.app import create_app as create

from . import holdings
from .jobs import jobs
from .routes import router
from .settings import Settings
from .subscribers import on


def create_app(settings: Settings | None = None) -> FastAPI:
    return create(
        settings or Settings(),
        title="统一总客服 helpdesk-svc",
        routers=[router, doors.router("helpdesk", holdings.PARTS)],
        on=on,
        jobs=jobs,
    )
