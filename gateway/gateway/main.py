"""The gateway's app: its own few pages behind the proxy lane, and what lives as long as it does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, start_http_server

from kit import errors, telemetry
from kit.auth import Keyring

from . import routes
from .beam import Beam
from .counters import BeamCollector
from .settings import GatewaySettings


def create_app(settings: GatewaySettings | None = None, keyring: Keyring | None = None) -> FastAPI:
    """The gateway as an app. Serve it with `gateway.protocol.BeamProtocol` (see `server.run`):
    the proxy lane lives in that protocol, this app holds what stands beside it."""
    settings = settings or GatewaySettings()
    keys = keyring or Keyring(settings.issuer, settings.jwks_url)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        beam = Beam(settings, keys)
        logs = telemetry.configure_logs(settings.service)
        sweeper = asyncio.create_task(beam.sweep(logs))
        metrics = None
        if settings.gateway_metrics_port is not None:
            registry = CollectorRegistry()
            registry.register(BeamCollector(beam))
            metrics = start_http_server(
                settings.gateway_metrics_port, settings.gateway_metrics_host, registry
            )
        try:
            async with routes.probing(settings) as probe:
                yield {"beam": beam, "probe": probe, "metrics": metrics}
        finally:
            sweeper.cancel()
            logs.flush()
            beam.close()
            if metrics is not None:
                metrics[0].shutdown()
                metrics[0].server_close()

    app = FastAPI(
        title="One Beam",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(routes.router)
    errors.install(app)
    app.add_middleware(telemetry.RequestTelemetry, service=settings.service)
    return app
