"""How the whole platform does, put together from what each service says of itself.

The gateway holds nothing of it: it asks all services at once with the operator's own token. A
service that is away costs its lines, never the answer.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import httpx
from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from kit.auth import Caller, Operator

from .beam import Beam
from .certificate import Certificate
from .pillars import headers_for
from .routes import Probe
from .table import SERVICES

router = APIRouter(tags=["ops"])
SECONDS = 3.0
LATE_SECONDS = 10.0


class ReconciledDay(BaseModel):
    """The newest day of a payment channel whose bill was read."""

    id: str
    channel: str
    day: date
    state: str
    """`waiting` for the bill, `matched`, `differs`, `closed` (differences were seen to)."""
    problem: str | None
    """Why there is no bill yet, or why it cannot be believed."""
    lines: int
    """Of the bill: payments and refunds."""
    delta_fen: int
    """By how much the channel's account moved more than ours."""
    loaded_at: datetime | None
    finished_at: datetime | None


class Open(BaseModel):
    """Differences of one type that nobody has ended yet."""

    count: int
    oldest_at: datetime


class OpenDifferences(BaseModel):
    """What of bills and books does not agree, by type."""

    count: int
    oldest_at: datetime | None
    types: dict[str, Open]


class DaysUnreconciled(BaseModel):
    """Days whose bill was due and that are neither matched nor closed."""

    count: int
    oldest_day: date | None


class Reconciliation(BaseModel):
    """How our books agree with the channels' daily bills."""

    last: list[ReconciledDay]
    differences_open: OpenDifferences
    days_unreconciled: DaysUnreconciled


class EventCopies(BaseModel):
    """On how many brokers the events lie."""

    kept: int
    """Of those that are there and have all of them."""
    wanted: int
    """By the stream's own configuration or `NATS_REPLICAS`, whichever is more."""


class PublicCertificate(BaseModel):
    ends_at: datetime
    ends_soon: bool
    """Less than 14 days and a fifth of its life are left."""


class PlatformState(BaseModel):
    """How every service does, and what of it needs somebody's eye."""

    at: datetime
    unreachable: list[str]
    """Services that said nothing."""
    not_ready: list[str]
    dead_letters: dict[str, int]
    """Service → open dead letters, where there are any."""
    late_events: dict[str, int]
    """Service → events that wait to be sent, where one waits for more than ten seconds."""
    failed_checks: list[str]
    """`<service>/<check>` of books that do not hold."""
    versions: dict[str, list[str]]
    """Version of the programs → services that run it: more than one during an upgrade."""
    sealed_elsewhere: list[str]
    """Services whose sealed records end before the head that exchange-svc was told, or differ."""
    overdue_tasks: int | None
    """Departments' tasks whose time is over; null: case-svc does not say."""
    refused_refunds: int | None
    """Refunds for a person to see to; null: payment-svc does not say."""
    reconciliation: Reconciliation | None
    """Null: payment-svc does not say."""
    event_copies: EventCopies | None
    """Null: no service hears of it from the broker."""
    certificate: PublicCertificate | None
    """Of the public address; null: it has none, or the gateway does not come to it."""
    disk_free_percent: int | None
    """Of the fullest disk that a service writes to; null: no service says."""
    backup_at: datetime | None
    """Of the last backup that has every database; null: there is none."""
    services: dict[str, dict[str, Any]]
    """What each service says of itself at `/v1/ops/<service>`."""


async def _state(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str]
) -> dict[str, Any] | None:
    """What one service says of itself; None when it cannot say anything."""
    try:
        answer = await client.get(url, headers=headers, timeout=SECONDS)
        if answer.status_code != 200:
            return None
        said: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError):
        return None
    return said


async def overview(probe: Probe, beam: Beam, caller: Caller) -> dict[str, Any]:
    """All services' states, and what of them needs somebody's eye."""
    headers = await headers_for(caller, beam.own_token, probe.client)
    urls = (f"{probe.settings.url_of(s)}/v1/ops/{s}" for s in SERVICES)
    states = await asyncio.gather(*(_state(probe.client, url, headers) for url in urls))
    services = {s: said for s, said in zip(SERVICES, states, strict=True) if said is not None}
    return {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "unreachable": [s for s in SERVICES if s not in services],
        "not_ready": [s for s, said in services.items() if not said["ready"]],
        "dead_letters": {
            s: said["bus"]["dead_letters"]
            for s, said in services.items()
            if said["bus"]["dead_letters"]
        },
        "late_events": {
            s: said["bus"]["unsent"]
            for s, said in services.items()
            if said["bus"]["oldest_unsent_seconds"] > LATE_SECONDS
        },
        "failed_checks": [
            f"{s}/{name}"
            for s, said in services.items()
            for name, result in said["checks"].items()
            if result["ok"] is False
        ],
        "versions": _versions(services),
        "sealed_elsewhere": _sealed_elsewhere(services),
        "overdue_tasks": _of(services, "case", "boards", "supervision", "overdue"),
        "refused_refunds": _of(services, "payment", "boards", "money", "refunds_refused", "count"),
        "reconciliation": _reconciliation(services),
        "event_copies": _copies(services),
        "certificate": _certificate(beam.door.certificate),
        "disk_free_percent": _disk(services),
        "backup_at": _backup(services),
        "services": services,
    }


def _of(found: Any, *path: str) -> Any:
    """What lies there; None where a service did not say it."""
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _versions(services: Mapping[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for service in services:
        found.setdefault(str(_of(services, service, "versions", "beam")), []).append(service)
    return found


def _sealed_elsewhere(services: Mapping[str, Any]) -> list[str]:
    heads = _of(services, "exchange", "checks", "audit_heads", "heads") or {}
    behind = []
    for service, head in heads.items():
        own = _of(services, service, "checks", "audit")
        if own is None or own.get("blocks") is None:
            continue
        same = own["blocks"] != head["block"] or own["head"] == head["hash"]
        if own["blocks"] < head["block"] or not same:
            behind.append(service)
    return behind


def _reconciliation(services: Mapping[str, Any]) -> dict[str, Any] | None:
    board = _of(services, "payment", "boards", "money")
    if board is None or "reconciliations" not in board:
        return None
    return {
        "last": board["reconciliations"],
        "differences_open": board["differences_open"],
        "days_unreconciled": board["days_unreconciled"],
    }


def _copies(services: Mapping[str, Any]) -> dict[str, int] | None:
    told = [c for said in services.values() if (c := _of(said, "bus", "copies")) is not None]
    if not told:
        return None
    return {"kept": min(c["kept"] for c in told), "wanted": max(c["wanted"] for c in told)}


def _certificate(found: Certificate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    soon = found.ends_soon(datetime.now(UTC))
    return {"ends_at": found.ends.isoformat(timespec="milliseconds"), "ends_soon": soon}


def _disk(services: Mapping[str, Any]) -> int | None:
    disks = [d for said in services.values() if (d := _of(said, "disk")) is not None]
    return min((100 * d["free_bytes"] // d["total_bytes"] for d in disks), default=None)


def _backup(services: Mapping[str, Any]) -> str | None:
    moments = [_of(said, "backup_at") for said in services.values()]
    return min(moments, default=None) if all(moments) else None


@router.get("/v1/ops", response_model=PlatformState)
async def get_platform_state(request: Request, caller: Operator) -> JSONResponse:
    """How every service does: readiness, lag, dead letters, books; also while some are away."""
    probe = request.state.probe
    said = await overview(probe, request.state.beam, caller)
    return JSONResponse(said, headers={"cache-control": "no-store"})
