"""case-svc: drafts, submission, review, clock, decision (办件)."""

from fastapi import FastAPI

from kit import holdings as doors
from kit.app import create_app as create

from . import holdings, routes, subscribers, supervision
from .settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or Settings()
    return create(
        settings,
        title="case-svc",
        routers=[
            routes.cases,
            routes.window,
            routes.tasks,
            routes.internal,
            doors.router("case", holdings.PARTS, holdings.open_matters),
        ],
        on=subscribers.on,
        boards={"supervision": supervision.board},
        max_body=settings.file_limit + 4096,
    )
