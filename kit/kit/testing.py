"""Test helpers on real servers: a database of its own per test, a broker of its own, real tokens.

async with ground.service("payment_svc", nats=url) as payment:
    answer = await payment.client.get("/v1/payments/…", headers=ground.person("acc_1"))
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import event as hooks
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from contracts.event import Event

from . import migrate
from .auth import AUDIENCE
from .embedded.nats import NatsServer
from .embedded.postgres import PostgresServer
from .ids import uuid7
from .inbox import apply
from .jose import SigningKey
from .outbox import seal
from .runtime import Runtime
from .secrets import Vault

ISSUER = "http://beam.test"
SCHEME = "postgresql+asyncpg"


@dataclass
class Running:
    """A service that runs in this process."""

    app: FastAPI
    client: httpx.AsyncClient

    @property
    def runtime(self) -> Runtime:
        runtime: Runtime = self.app.state.runtime
        return runtime

    @contextlib.contextmanager
    def keys_taken(self) -> Iterator[list[str]]:
        """What its transactions say meanwhile about idempotency keys. Nothing, where creations
        are kept with others (`kit.creations`)."""
        said: list[str] = []

        def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
            if "idempotency_key" in statement:
                said.append(statement)

        engine = self.runtime.engine.sync_engine
        hooks.listen(engine, "before_cursor_execute", note)
        try:
            yield said
        finally:
            hooks.remove(engine, "before_cursor_execute", note)

    async def hear(self, event: Event, *, times: int = 1, **envelope: Any) -> int:
        """Hand an event to every handler of the service that listens to it, as its consumers do;
        `times` over with the same id. `envelope`: subject and version (needed), region, dept,
        actor, time as for `emit`. Returns how often a handler ran; what it raises comes through.
        """
        bus, sealed, ran = self.runtime.bus, seal(event, **envelope), 0
        for _ in range(times):
            for subscription in bus.on.subscriptions:
                if subscription.event_type in (None, type(event)):
                    delivery = subscription.read(sealed.body.encode())
                    async with self.runtime.sessions.begin() as session:
                        durable = subscription.durable(self.runtime.settings.service)
                        ran += len(await apply(session, subscription, durable, [delivery]))
        return ran


class Ground:
    """One PostgreSQL for a test session; databases are copied from a migrated template."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = PostgresServer.temporary(lossy=True)
        self.key = SigningKey(SigningKey.generate())
        self.jwks = folder / "jwks.json"
        self.vault_file = folder / "vault.json"
        self._templates: dict[str, asyncio.Task[str]] = {}
        self._counter = 0

    def start(self) -> None:
        self.postgres.start()
        self.jwks.write_text(json.dumps({"keys": [self.key.public_jwk]}))
        self.vault_file.write_text(json.dumps(Vault.new_document()))

    def stop(self) -> None:
        self.postgres.stop()

    async def _admin(self, statement: str) -> None:
        engine = create_async_engine(
            self.postgres.dsn("postgres", scheme=SCHEME), isolation_level="AUTOCOMMIT"
        )
        async with engine.connect() as connection:
            await connection.execute(text(statement))
        await engine.dispose()

    async def _template(self, package: str) -> str:
        name = f"template_{package}"
        await self._admin(f'create database "{name}"')
        await asyncio.to_thread(migrate.upgrade, package, self.postgres.dsn(name, scheme=SCHEME))
        return name

    async def database(self, package: str) -> str:
        """The URL of a fresh, migrated database for the service."""
        if package not in self._templates:
            self._templates[package] = asyncio.create_task(self._template(package))
        template = await self._templates[package]
        self._counter += 1
        name = f"{package}_{self._counter}"
        await self._admin(f'create database "{name}" template "{template}"')
        return self.postgres.dsn(name, scheme=SCHEME)

    @contextlib.asynccontextmanager
    async def nats(self) -> AsyncIterator[str]:
        """The URL of a broker that nobody else uses."""
        with NatsServer.temporary() as server:
            yield server.url

    @contextlib.asynccontextmanager
    async def service(
        self, package: str, *, nats: str, database: str | None = None, **settings: Any
    ) -> AsyncIterator[Running]:
        """Run a service in this process on a fresh database (or the given one)."""
        main = import_module(f"{package}.main")
        own = import_module(f"{package}.settings").Settings
        app = main.create_app(
            own(
                environment="test",
                database_url=database or await self.database(package),
                nats_url=nats,
                issuer=ISSUER,
                jwks_url=self.jwks.as_uri(),
                vault_key_file=self.vault_file,
                **settings,
            )
        )
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            base = f"http://{package.replace('_', '-')}"
            async with httpx.AsyncClient(transport=transport, base_url=base, timeout=20) as client:
                yield Running(app, client)

    def token(self, subject: str, kind: str, **claims: Any) -> str:
        now = int(time.time())
        return self.key.sign(
            {
                "iss": ISSUER,
                "aud": AUDIENCE,
                "sub": subject,
                "jti": uuid7().hex,
                "iat": now,
                "exp": now + 600,
                "kind": kind,
                "acr": "L2",
                **claims,
            },
            "at+jwt",
        )

    def _headers(self, token: str) -> dict[str, str]:
        return {"authorization": f"Bearer {token}"}

    def person(self, subject: str = "acc_person", **claims: Any) -> dict[str, str]:
        return self._headers(self.token(subject, "person", **claims))

    def staff(
        self, role: str, dept: str, subject: str = "acc_staff", region: str = "310115"
    ) -> dict[str, str]:
        token = self.token(subject, "staff", roles=[role], dept=dept, region=region)
        return self._headers(token)

    def service_token(self, name: str) -> dict[str, str]:
        return self._headers(self.token(f"svc-{name}", "service", scope="internal"))


def key() -> dict[str, str]:
    """A new Idempotency-Key header."""
    return {"idempotency-key": uuid7().hex}


async def until(condition: Any, *, seconds: float = 15) -> Any:
    """Wait for an asynchronous condition to give something true; fail with its last answer."""
    end = time.monotonic() + seconds
    while True:
        value = await condition()
        if value:
            return value
        assert time.monotonic() < end, f"it did not happen; last answer: {value!r}"
        await asyncio.sleep(0.03)


@contextlib.asynccontextmanager
async def serve(app: Any, *, port: int = 0, lifespan: str = "on") -> AsyncIterator[str]:
    """The address of an ASGI app on a (free) port of the loopback; `lifespan="off"` for one that
    runs already."""
    config = uvicorn.Config(
        app,
        port=port,
        log_level="warning",
        lifespan=lifespan,  # type: ignore[arg-type]
        ws="none",
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "the server did not start"
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
