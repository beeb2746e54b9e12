"""payment-svc: what is owed, how it is paid, the books, and the way back."""

from fastapi import FastAPI

from kit import app
from kit import holdings as doors

from . import callbacks, holdings, jobs, ledger, money, outside, routes, subscribers
from .settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    return app.create_app(
        settings or Settings(),
        title="统一支付 payment-svc",
        routers=[
            routes.payments,
            routes.live,
            routes.returns,
            routes.books,
            routes.days,
            routes.gaps,
            callbacks.router,
            doors.router("payment", holdings.PARTS, holdings.open_matters),
        ],
        on=subscribers.on,
        jobs=jobs.jobs,
        setup=outside.open_channels,
        checks={"ledger": ledger.check},
        boards={"money": money.board},
    )
