"""licence-svc running for real; identity and case are a small HTTP server that speaks their
agreed answers, so that their failures can be played."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
from fastapi import FastAPI, Response
from sqlalchemy import select

from contracts.case import CaseDecided
from contracts.event import Envelope
from kit.ids import new_id
from kit.inbox import apply
from kit.testing import Ground, Running, serve
from licence_svc import licences
from licence_svc.models import Licence, LicenceOrder
from licence_svc.subscribers import on

ZHANG = licences.Holder("acc_zhang", "person", "张三丰", "310115199001011231")


@dataclass
class Others:
    """What identity and case answer, and how often they were asked."""

    url: str = ""
    holders: dict[str, dict[str, Any]] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    down: bool = False
    asked: int = 0
    tokens: int = 0


def _server(others: Others) -> FastAPI:
    app = FastAPI()

    @app.post("/oauth2/token")
    async def token() -> dict[str, Any]:
        others.tokens += 1
        return {"access_token": "own-token", "expires_in": 600}

    @app.get("/internal/v1/accounts/{account_id}/holder")
    async def holder(account_id: str) -> Any:
        others.asked += 1
        if others.down:
            return Response(status_code=503)
        if account_id not in others.holders:
            return Response(status_code=404)
        return others.holders[account_id]

    @app.get("/internal/v1/cases/{case_id}/licence-data")
    async def licence_data(case_id: str) -> Any:
        return {"fields": others.fields, "item_code": "A05", "applicant_id": "acc_zhang"}

    return app


@pytest.fixture(scope="module")
async def others() -> AsyncIterator[Others]:
    state = Others()
    async with serve(_server(state), lifespan="off") as state.url:
        yield state


@pytest.fixture(autouse=True)
def _answers(request: pytest.FixtureRequest) -> None:
    if "others" in request.fixturenames:
        others: Others = request.getfixturevalue("others")
        others.down = False
        others.holders = {
            ZHANG.account_id: {
                "id": ZHANG.account_id,
                "kind": ZHANG.kind,
                "level": "L3",
                "name": ZHANG.name,
                "id_number": ZHANG.number,
            }
        }
        others.fields = {"business_name": "三丰面馆", "premises_address": "浦东新区某路1号"}


@pytest.fixture(scope="module")
async def svc(ground: Ground, nats_url: str, others: Others) -> AsyncIterator[Running]:
    async with ground.service(
        "licence_svc",
        nats=nats_url,
        identity_url=others.url,
        token_url=f"{others.url}/oauth2/token",
        case_url=others.url,
        presentation_seconds=60,
    ) as running:
        yield running


Grantor = Callable[..., Any]


@pytest.fixture
def grant(svc: Running) -> Grantor:
    """Issue a licence without a case."""

    async def issue(
        holder: licences.Holder = ZHANG, *, licence_type: str = "LT-BIZ", **changes: Any
    ) -> Licence:
        given: dict[str, Any] = {
            "licence_id": new_id("lic"),
            "licence_type": licence_type,
            "region": "310115",
            "dept": "SAMR",
            "valid_from": date(2026, 1, 5),
            "years": None,
            "fields": {"name": "三丰面馆"},
        }
        async with svc.runtime.sessions.begin() as session:
            return await licences.issue(
                session,
                svc.runtime.vault,
                svc.runtime.parts["signer"],
                holder,
                licences.Grant(**(given | changes)),
            )

    return issue


def decided(case_id: str, **changes: Any) -> Envelope:
    """A CaseDecided as it comes over the wire."""
    given: dict[str, Any] = {
        "case_id": case_id,
        "applicant_id": ZHANG.account_id,
        "item_code": "A05",
        "outcome": "approved",
        "licence_type": "LT-FOOD",
        "licence_years": 5,
        "delivery": "courier",
        "address_id": "addr_1",
    }
    return Envelope(
        source="/beam/case",
        type=f"cn.beam.{CaseDecided.TYPE}",
        subject=case_id,
        dataschema="x",
        region="310115",
        dept="SAMR",
        aggregateversion=7,
        correlationid="req-of-the-case",
        data=CaseDecided(**(given | changes)).model_dump(mode="json"),
    )


async def deliver(svc: Running, envelope: Envelope) -> int:
    """Give the envelope to its subscriber as the bus would; how many it was new to."""
    subscription = on.subscriptions[0]
    body = envelope.model_dump_json().encode()
    async with svc.runtime.sessions.begin() as session:
        applied = await apply(
            session, subscription, subscription.durable("licence"), [subscription.read(body)]
        )
    return len(applied)


async def order_of(svc: Running, case_id: str) -> LicenceOrder | None:
    async with svc.runtime.sessions() as session:
        return await session.scalar(select(LicenceOrder).filter_by(case_id=case_id))


@contextlib.asynccontextmanager
async def away(others: Others) -> AsyncIterator[None]:
    """identity cannot answer meanwhile."""
    others.down = True
    try:
        yield
    finally:
        others.down = False
