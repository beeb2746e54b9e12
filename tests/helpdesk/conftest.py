"""helpdesk-svc running for real, fed with the events that case-svc sends."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from contracts.case import CaseClosed
from contracts.event import Envelope
from helpdesk_svc.subscribers import on
from kit.ids import new_id
from kit.inbox import apply
from kit.testing import Ground, Running

ZHANG = "acc_zhang"


@pytest.fixture(scope="module")
async def svc(ground: Ground, nats_url: str) -> AsyncIterator[Running]:
    async with ground.service("helpdesk_svc", nats=nats_url) as running:
        yield running


def closed(
    case_id: str, *, at: datetime | None = None, region: str = "310115", **changes: Any
) -> Envelope:
    """A CaseClosed as it comes over the wire."""
    given: dict[str, Any] = {
        "case_id": case_id,
        "applicant_id": ZHANG,
        "item_code": "A05",
        "item_name": "食品经营许可（新办）",
        "channel": "app",
        "outcome": "approved",
    }
    return Envelope(
        source="/beam/case",
        type=f"cn.beam.{CaseClosed.TYPE}",
        subject=case_id,
        time=at or datetime.now(UTC),
        dataschema="x",
        region=region,
        dept="SAMR",
        aggregateversion=9,
        correlationid="req-of-the-case",
        data=CaseClosed(**(given | changes)).model_dump(mode="json"),
    )


async def deliver(svc: Running, envelope: Envelope) -> int:
    """Give the envelope to its subscriber as the bus would; how many it was new to."""
    subscription = on.subscriptions[0]
    body = envelope.model_dump_json().encode()
    async with svc.runtime.sessions.begin() as session:
        applied = await apply(
            session, subscription, subscription.durable("helpdesk"), [subscription.read(body)]
        )
    return len(applied)


async def events(svc: Running, subject: str, kind: str) -> list[dict[str, Any]]:
    """The events of a kind that were emitted about a subject, oldest first."""
    query = text(
        "select body::jsonb from outbox where body::jsonb ->> 'subject' = :subject"
        " and body::jsonb ->> 'type' = :type order by seq"
    )
    async with svc.runtime.sessions() as session:
        rows = await session.scalars(query, {"subject": subject, "type": f"cn.beam.{kind}"})
        return list(rows)


async def invited(svc: Running, ground: Ground, **changes: Any) -> dict[str, Any]:
    """A fresh invitation as its applicant sees it."""
    case_id = new_id("case")
    await deliver(svc, closed(case_id, **changes))
    account = changes.get("applicant_id", ZHANG)
    answer = await svc.client.get(f"/v1/ratings?case_id={case_id}", headers=ground.person(account))
    [rating] = answer.json()["items"]
    found: dict[str, Any] = rating
    return found
