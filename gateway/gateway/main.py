"""The gateway's app: its own few pages behind the proxy lane, and what lives as long as it does."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from kit import context, errors, revocations, telemetry, traces
from kit.auth import Keyring
from kit.bodies import HeadLikeGet
from kit.broker import Nats

from . import dead_letters, guide, operators, ops, portal, references, routes, silence
from .beam import Beam
from .counters import BeamCollector
from .pages import problems
from .settings import GatewaySettings
from .table import ROUTES, SERVICES, Route

log = logging.getLogger(__name__)
KNOWING_SECONDS = 2.0


async def _know(heard: asyncio.Event) -> None:
    """Let nobody in with a token that was taken back before we started; while the broker is away
    the door opens all the same."""
    try:
        async with asyncio.timeout(KNOWING_SECONDS):
            await heard.wait()
    except TimeoutError:
        log.warning("the door opens before it is known which tokens were taken back")


def create_app(
    settings: GatewaySettings | None = None,
    keyring: Keyring | None = None,
    table: Sequence[Route] = ROUTES,
) -> FastAPI:
    """The gateway as an app. Serve it with `gateway.protocol.BeamProtocol` (see `server.run`):
    the proxy lane lives in that protocol, this app holds what stands beside it."""
    settings = settings or GatewaySettings()
    keys = keyring or Keyring(settings.issuer, settings.jwks_url, services=SERVICES)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        context.service.set(settings.service)
        tracer = traces.open_tracer(settings.service, settings.traces, settings.traces_ratio)
        beam = app.state.runtime = Beam(settings, keys, tracer, table)
        logs = telemetry.configure_logs(settings.service)
        sweeper = asyncio.create_task(beam.sweep(logs))
        exporter = asyncio.create_task(tracer.run()) if tracer is not None else None
        followers = [asyncio.create_task(silence.watch(beam.pools.values()))]
        followers.append(asyncio.create_task(keys.warm()))
        followers.append(asyncio.create_task(beam.door.run()))
        if settings.nats_url:
            nats = Nats(
                settings.nats_url,
                settings.nats_user,
                settings.nats_password.get_secret_value(),
                settings.nats_replicas,
            )
            heard = asyncio.Event()
            following = revocations.follow(nats, settings.service, keys.revoked.note, heard)
            followers.append(asyncio.create_task(following))
            if settings.gateway_cache_bytes:
                followers.append(asyncio.create_task(beam.cache.listen(nats)))
        metrics = None
        if settings.gateway_metrics_port is not None:
            registry = CollectorRegistry()
            registry.register(BeamCollector(beam))
            ProcessCollector(registry=registry)
            metrics = start_http_server(
                settings.gateway_metrics_port, settings.gateway_metrics_host, registry
            )
        try:
            if settings.nats_url:
                await _know(heard)
            async with routes.probing(settings) as probe:
                yield {"beam": beam, "probe": probe, "metrics": metrics}
        finally:
            sweeper.cancel()
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)
            if tracer is not None and exporter is not None:
                exporter.cancel()
                await tracer.close()
            beam.refusals.tell()
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
    app.include_router(ops.router)
    app.include_router(operators.router)
    app.include_router(dead_letters.router)
    app.include_router(guide.router)
    app.include_router(references.router)
    app.include_router(references.events_router)
    app.include_router(portal.router)
    errors.install(app)
    app.state.problem_page = problems.shown
    app.add_middleware(HeadLikeGet)
    app.add_middleware(telemetry.RequestTelemetry, service=settings.service)
    return app
