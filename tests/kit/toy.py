"""A service of a few routes, for tests of what the kit does around a route."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
from fastapi import APIRouter, FastAPI
from pydantic import SecretStr

from kit.app import create_app
from kit.settings import ServiceSettings
from kit.testing import ISSUER, Ground


@contextlib.asynccontextmanager
async def serving(routes: APIRouter, ground: Ground, nats_url: str) -> AsyncIterator[FastAPI]:
    settings = ServiceSettings(
        service="helpdesk",
        environment="test",
        database_url=SecretStr(await ground.database("helpdesk_svc")),
        nats_url=nats_url,
        issuer=ISSUER,
        jwks_url=ground.jwks.as_uri(),
        vault_key_file=ground.vault_file,
    )
    app = create_app(settings, title="toy", routers=[routes])
    async with app.router.lifespan_context(app):
        yield app


@contextlib.asynccontextmanager
async def client_of(app: FastAPI, ground: Ground) -> AsyncIterator[httpx.AsyncClient]:
    """Sends as `acc_1`; what the app raises comes as the answer that it gives."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    options: Any = {"base_url": "http://toy", "headers": ground.person("acc_1"), "timeout": 20}
    async with httpx.AsyncClient(transport=transport, **options) as client:
        yield client


@contextlib.asynccontextmanager
async def beside(app: FastAPI) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the service's database that is not the service's."""
    url = app.state.runtime.engine.url.set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        yield connection
    finally:
        await connection.close()
