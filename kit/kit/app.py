"""How every service is put together: `create_app(settings, …)`, nothing global.

Settings go in, a running service comes out: engine, keys, bus and jobs are opened in order by the
app's lifespan and closed in reverse (see kit.runtime for what it then holds).
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter, FastAPI, Response

from . import context, errors, metrics, openapi, ops, telemetry, traces, versions
from .auth import Keyring
from .bodies import BodyLimit, HeadLikeGet
from .bus import Bus
from .calls import Calls
from .creations import Creations
from .db import open_engine, open_sessions
from .db_watch import DatabaseWatch
from .inbox import Subscribers
from .jobs import Jobs, Runner
from .lane import Lane
from .lookups import Reader
from .pages import Cursors
from .revocations import Watcher
from .runtime import Checks, Runtime
from .seals import watch
from .secrets import Vault
from .settings import ServiceSettings

log = logging.getLogger(__name__)
MAX_BODY = 1 << 20


Setup = Callable[[Runtime], AbstractAsyncContextManager[None]]


def create_app(
    settings: ServiceSettings,
    *,
    title: str,
    routers: Sequence[APIRouter],
    on: Subscribers | None = None,
    jobs: Jobs | None = None,
    setup: Setup | None = None,
    checks: Checks | None = None,
    boards: Checks | None = None,
    max_body: int = MAX_BODY,
) -> FastAPI:
    """A service as an ASGI app. Nothing is opened before its lifespan starts."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = (on or Subscribers(), jobs or Jobs(), setup, checks)
        async with running(settings, *parts) as runtime:
            runtime.boards = boards or {}
            app.state.runtime = runtime
            yield

    app = FastAPI(
        title=title,
        version="1",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # We count and trace for ourselves, see kit.telemetry.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        generate_unique_id_function=lambda route: route.name,
    )
    app.add_middleware(Lane)
    app.add_middleware(BodyLimit, limit=max_body)
    app.add_middleware(HeadLikeGet)
    app.add_middleware(telemetry.RequestTelemetry, service=settings.service)
    errors.install(app)
    for router in (*routers, ops.router(settings.service)):
        app.include_router(router)
    _health(app)
    app.openapi = lambda: openapi.build(app)  # type: ignore[method-assign]
    return app


@contextlib.asynccontextmanager
async def running(
    settings: ServiceSettings,
    on: Subscribers,
    jobs: Jobs,
    setup: Setup | None = None,
    checks: Checks | None = None,
) -> AsyncIterator[Runtime]:
    """Open everything in order, close it in reverse; a service without HTTP can use it too."""
    every = Jobs([*jobs.entries, *watch.jobs.entries])
    async with opened(settings, on, every, setup) as runtime, contextlib.AsyncExitStack() as stack:
        runtime.checks = {**(checks or {}), "audit": watch.of(runtime).report}
        stack.callback(asyncio.create_task(ops.watch_checks(runtime)).cancel)
        stack.callback(asyncio.create_task(runtime.database.run()).cancel)
        runtime.bus.watcher = Watcher(settings.service, runtime.keyring.revoked.note)
        stack.callback(asyncio.create_task(runtime.keyring.warm()).cancel)
        await runtime.bus.start()
        stack.push_async_callback(runtime.bus.stop)
        runtime.jobs.start(runtime)
        stack.push_async_callback(runtime.jobs.stop)
        yield runtime


@contextlib.asynccontextmanager
async def opened(
    settings: ServiceSettings,
    on: Subscribers | None = None,
    jobs: Jobs | None = None,
    setup: Setup | None = None,
) -> AsyncIterator[Runtime]:
    """A Runtime that neither hears events nor does jobs: for work done once, such as first data."""
    refuse_default_secrets(settings)
    context.service.set(settings.service)
    tracer = traces.open_tracer(settings.service, settings.traces, settings.traces_ratio)
    traces.tracer.set(tracer)
    handler = telemetry.configure_logs(settings.service)
    engine = open_engine(
        settings.database_url.get_secret_value(),
        pool=settings.database_pool,
        overflow=settings.database_overflow,
    )
    sessions = open_sessions(engine)
    runner = Runner(jobs or Jobs())
    vault, cursor_key = _vault(settings)
    sessions.configure(info={"jobs": runner, "vault": vault})
    runtime = Runtime(
        settings=settings,
        engine=engine,
        sessions=sessions,
        keyring=Keyring(settings.issuer, settings.jwks_url, services=[settings.service]),
        vault=vault,
        cursors=Cursors(cursor_key),
        calls=Calls(settings),
        bus=Bus(settings, engine, sessions, on or Subscribers()),
        jobs=runner,
        tracer=tracer,
        migrations=versions.Migrations.of(type(settings).__module__.partition(".")[0]),
        database=DatabaseWatch(engine),
        lookups=Reader(engine),
        creations=Creations(engine),
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(handler.flush)
        stack.callback(asyncio.create_task(_flush(handler)).cancel)
        if tracer is not None:
            stack.push_async_callback(tracer.close)
            stack.callback(asyncio.create_task(tracer.run()).cancel)
        stack.push_async_callback(engine.dispose)
        stack.push_async_callback(runtime.lookups.close)
        stack.push_async_callback(runtime.creations.close)
        stack.push_async_callback(runtime.calls.close)
        if setup is not None:
            await stack.enter_async_context(setup(runtime))
        yield runtime


def _vault(settings: ServiceSettings) -> tuple[Vault, bytes]:
    if settings.vault_key_file is not None:
        vault = Vault.from_file(settings.vault_key_file)
    else:
        vault = Vault(Vault.new_document())
    key = bytes.fromhex(vault.index(f"cursors of {settings.service}"))
    return vault, hmac.digest(key, b"cursor", hashlib.sha256)


def refuse_default_secrets(settings: ServiceSettings) -> None:
    """Outside development and tests a service does not start without its secrets."""
    if settings.environment == "production" and settings.vault_key_file is None:
        raise SystemExit(
            "缺少字段加密密钥。请设置 BEAM_VAULT_KEY_FILE。"
            " / Set BEAM_VAULT_KEY_FILE (field encryption key)."
        )


async def _flush(handler: telemetry.BufferedLines) -> None:
    while True:
        await asyncio.sleep(0.5)
        handler.flush()


def _health(app: FastAPI) -> None:
    @app.get("/health/live", include_in_schema=False)
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/health/ready", include_in_schema=False)
    async def ready(response: Response) -> dict[str, Any]:
        runtime: Runtime = app.state.runtime
        state = await ops.readiness(runtime)
        reasons, bus = state.reasons, runtime.bus.health()
        response.status_code = 503 if reasons else 200
        return {"status": "not ready" if reasons else "ready", "reasons": reasons, "bus": bus}

    @app.get("/metrics", include_in_schema=False)
    async def figures() -> Response:
        return Response(
            metrics.exposition(app.state.runtime), media_type="text/plain; version=0.0.4"
        )
