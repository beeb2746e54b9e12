"""licence-svc 电子证照, assembled."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from kit.app import Runtime
from kit.app import create_app as create

from . import keys, types
from .jobs import jobs
from .routes import router
from .settings import Settings
from .subscribers import on


@contextlib.asynccontextmanager
async def setup(runtime: Runtime) -> AsyncIterator[None]:
    async with runtime.sessions.begin() as session:
        issuer = runtime.settings.issuer
        runtime.parts["signer"] = await keys.load(session, runtime.vault, issuer)
        await types.load(session)
    yield


def create_app(settings: Settings | None = None) -> FastAPI:
    return create(
        settings or Settings(),
        title="电子证照 licence-svc",
        routers=[router],
        on=on,
        jobs=jobs,
        setup=setup,
    )
