"""Every route says who may call it and what it does; the answer never runs ahead of the commit."""

import inspect
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import text

from kit.app import create_app
from kit.auth import Gate, OpenDoor, OwnProof, Public
from kit.routing import BeamRoute, Session, router
from kit.settings import ServiceSettings
from kit.testing import ISSUER, Ground, key

from .conftest import SERVICES

OWN_TRANSACTIONS = {
    "/oauth2/": "Authlib's core runs on a synchronous session; endpoints.py commits it",
    "/.well-known/": "public documents, no database act",
    "/v1/firm-claims": "the register is asked between two transactions",
    "/v1/phone-codes": "the message is sent after the commit",
    "/callbacks/wechat": "a notice is verified by asking for keys first, then stored in one go",
    "/v1/payments/{payment_id}/attempts": "the channel is called between two transactions",
}
"""Addresses whose routes say themselves where their transactions begin and end, and why."""


def app_of(service: str) -> FastAPI:
    settings = import_module(f"{service}.settings").Settings(
        database_url="postgresql+asyncpg://", environment="test"
    )
    app: FastAPI = import_module(f"{service}.main").create_app(settings)
    return app


def routes(app: FastAPI) -> Iterator[APIRoute]:
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and not route.path.startswith(("/health", "/metrics")):
            yield route


def gates(dependant: Dependant) -> Iterator[Any]:
    for inner in dependant.dependencies:
        if isinstance(inner.call, Gate | OpenDoor | OwnProof):
            yield inner.call
        yield from gates(inner)


def calls(dependant: Dependant) -> Iterator[Any]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from calls(inner)


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_that_every_request_asks_takes_a_thread(service: str) -> None:
    for route in routes(app_of(service)):
        for call in (route.endpoint, *calls(route.dependant)):
            function = call if inspect.isroutine(call) else type(call).__call__
            assert inspect.iscoroutinefunction(function), f"{route.path}: {call} must be async"


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_names_its_caller_and_says_what_it_does(service: str) -> None:
    found = list(routes(app_of(service)))
    assert found
    for route in found:
        assert len(list(gates(route.dependant))) == 1, f"{route.path} must name one caller"
        assert route.description, f"{route.path} needs a docstring"
        own = any(route.path.startswith(prefix) for prefix in OWN_TRANSACTIONS)
        assert isinstance(route, BeamRoute) != own, f"{route.path} commits by itself"
        internal = route.path.startswith("/internal/")
        kinds = [gate.kinds for gate in gates(route.dependant) if isinstance(gate, Gate)]
        assert internal == (kinds == [("service",)]), f"{route.path}: services only, and all"


@pytest.fixture(scope="module")
async def late_failure(ground: Ground, nats_url: str) -> AsyncIterator[FastAPI]:
    """An app whose one insert breaks a rule that the database checks at the commit only."""
    doors = router(prefix="/v1/late")

    @doors.post("", status_code=201)
    async def insert(session: Session, _: Public) -> dict[str, str]:
        """Insert a row that the commit will refuse."""
        await session.execute(text("insert into child values (1, 404)"))
        return {"said": "stored"}

    settings = ServiceSettings(
        service="late",
        environment="test",
        database_url=await ground.database("exchange_svc"),  # type: ignore[arg-type]
        nats_url=nats_url,
        issuer=ISSUER,
        jwks_url=ground.jwks.as_uri(),
        vault_key_file=ground.vault_file,
    )
    app = create_app(settings, title="late", routers=[doors])
    async with app.router.lifespan_context(app):
        async with app.state.runtime.sessions.begin() as session:
            await session.execute(text("create table parent (id int primary key)"))
            await session.execute(
                text(
                    "create table child (id int primary key, parent int references parent "
                    "deferrable initially deferred)"
                )
            )
        yield app


async def test_no_success_is_told_before_the_commit(late_failure: FastAPI) -> None:
    import httpx

    transport = httpx.ASGITransport(app=late_failure, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://late") as client:
        answer = await client.post("/v1/late", headers=key())
    assert answer.status_code >= 400
    assert "stored" not in answer.text
    assert answer.headers["content-type"] == "application/problem+json"
