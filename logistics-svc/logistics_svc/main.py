"""logistics-svc: address book, shipments, carriers (统一物流快递)."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from kit import holdings as doors
from kit.app import create_app as create
from kit.http import open_client
from kit.runtime import Runtime

from . import holdings, jobs, routes, subscribers
from .carriers.sf import SF, Account
from .settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or Settings()

    @contextlib.asynccontextmanager
    async def setup(runtime: Runtime) -> AsyncIterator[None]:
        if settings.sf_keys is None:
            raise SystemExit("缺少顺丰账户。请设置 BEAM_SF_KEYS。/ Set BEAM_SF_KEYS.")
        account = Account.load(settings.sf_keys)
        async with open_client(settings.sf_base_url, peer="sf") as client:
            runtime.parts["carrier"] = SF(
                base_url=settings.sf_base_url, account=account, client=client
            )
            runtime.parts["push_token"] = account.push_token
            yield

    return create(
        settings,
        title="logistics-svc",
        routers=[
            routes.addresses,
            routes.shipments,
            routes.callbacks,
            doors.router("logistics", holdings.PARTS, holdings.open_matters),
        ],
        on=subscribers.on,
        jobs=jobs.jobs,
        setup=setup,
    )
