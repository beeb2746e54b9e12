"""Operators' doors of every service: how it does, its dead letters, what staff did.

`GET /v1/ops/<service>` answers also while the database or the broker is away; the gateway puts
the answers of all services together at `GET /v1/ops`.
"""

import asyncio
import json
import logging
import platform
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from . import audit, deadletters, disk, http, routing, versions
from .auth import Operator
from .deadletters import DeadLetter
from .errors import NotFound
from .metrics import CHECK
from .pages import Cursor, Limit, Page, clamp, link
from .routing import Out, Session
from .runtime import Checks, Runtime

log = logging.getLogger(__name__)
CHECK_SECONDS = 300.0
_COMMENT = text(
    "select shobj_description(oid, 'pg_database') from pg_database "
    "where datname = current_database()"
)


class DeadLetterOut(Out):
    """An event that a handler could not take, and why: codes and places, no values."""

    id: str
    consumer: str
    event_id: str
    event_type: str | None
    """None when it could not be read."""
    correlation_id: str | None
    error: str
    deliveries: int
    first_at: datetime
    died_at: datetime
    replayed_at: datetime | None

    @classmethod
    def of(cls, letter: DeadLetter) -> "DeadLetterOut":
        return cls(**_facts(letter))


class DeadLetterDetail(DeadLetterOut):
    """With the event itself, which holds no personal data; None when it could not be read."""

    event: dict[str, Any] | None
    size: int
    """Bytes as they came."""

    @classmethod
    def of(cls, letter: DeadLetter) -> "DeadLetterDetail":
        return cls(**_facts(letter), event=_event(letter), size=len(letter.body))


def _event(letter: DeadLetter) -> dict[str, Any] | None:
    try:
        read = json.loads(letter.body)
    except ValueError:
        return None
    return read if isinstance(read, dict) and "specversion" in read else None


def _facts(letter: DeadLetter) -> dict[str, Any]:
    event = _event(letter) or {}
    return {
        "id": letter.id,
        "consumer": letter.consumer,
        "event_id": str(letter.event_id),
        "event_type": str(event["type"]) if "type" in event else None,
        "correlation_id": str(event["correlationid"]) if "correlationid" in event else None,
        "error": letter.error,
        "deliveries": letter.deliveries,
        "first_at": letter.first_at,
        "died_at": letter.died_at,
        "replayed_at": letter.replayed_at,
    }


class StaffActionOut(Out):
    """One line of the trail."""

    id: str
    at: datetime
    actor: str
    dept: str | None
    action: str
    things: dict[str, Any]
    request_id: str | None
    trace_id: str | None


class ServiceVersions(Out):
    beam: str
    python: str
    postgres: str | None
    database: str | None
    """Version of the tables; null while the database is away."""
    code: str | None
    """Version of the tables that the code was made for."""


class ServiceState(Out):
    """How a service does. `ready` is false exactly when `reasons` has entries."""

    service: str
    ready: bool
    reasons: list[str]
    versions: ServiceVersions
    bus: dict[str, Any]
    consumers: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    breakers: dict[str, bool]
    """Peer → whether it is left alone for the moment."""
    checks: dict[str, dict[str, Any]]
    """Its own books by name, each with `ok`: true, false, or null when it could not look."""
    boards: dict[str, dict[str, Any]]
    """What people have to see to, by name; counts."""
    disk: disk.Disk | None
    """Room on the disk that it writes to, as of some minutes ago; null: the system does not say."""
    backup_at: datetime | None
    """When the database was last saved by `beam backup`; null: never, or it cannot be asked."""


@dataclass
class Readiness:
    reasons: list[str] = field(default_factory=list)
    postgres: str | None = None
    database: str | None = None
    backup_at: datetime | None = None


async def readiness(runtime: Runtime) -> Readiness:
    """Why the service cannot work now; no reasons when it can. Never raises."""
    state = Readiness()
    try:
        if runtime.database.away:
            raise TimeoutError
        async with asyncio.timeout(2), runtime.engine.connect() as connection:
            state.postgres = await connection.scalar(text("show server_version"))
            state.backup_at = _moment(await connection.scalar(_COMMENT))
            if runtime.migrations.head is not None:
                state.database = await versions.of_database(connection)
                lacking = runtime.migrations.lacking(state.database)
                if lacking:
                    state.reasons.append(lacking)
    except Exception as exc:  # noqa: BLE001  whatever it is, it is the reason
        state.reasons.append(f"postgres: {type(exc).__name__}")
    if not runtime.bus.connected:
        state.reasons.append("nats: not connected")
    return state


def _moment(comment: str | None) -> datetime | None:
    """The time in the comment that `beam backup` leaves on a database; None for another."""
    word, _, moment = (comment or "").partition(" ")
    try:
        return datetime.fromisoformat(moment) if word == "backup" else None
    except ValueError:
        return None


async def look(runtime: Runtime) -> dict[str, dict[str, Any]]:
    """What the service's checks of its own books say; `ok` is None where one could not look."""
    found = await _ask(runtime, runtime.checks)
    for name, result in found.items():
        if result["ok"] is not None:
            CHECK.labels(runtime.settings.service, name).set(bool(result["ok"]))
    return found


async def _ask(runtime: Runtime, checks: Checks) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, check in checks.items():
        if runtime.database.away:
            found[name] = {"ok": None, "error": "TimeoutError"}
            continue
        try:
            async with asyncio.timeout(5), runtime.sessions() as session:
                found[name] = await check(session)
        except (SQLAlchemyError, OSError) as error:  # TimeoutError is an OSError
            found[name] = {"ok": None, "error": type(error).__name__}
    return found


async def watch_checks(runtime: Runtime) -> None:
    """Look into the books, and at the disk, every few minutes, for the figures and the log."""
    while True:
        try:
            await disk.measure(runtime.settings)
            for name, result in (await look(runtime)).items():
                if result["ok"] is False:
                    log.error("check %s does not hold", name)
        except Exception:
            log.exception("the checks could not be looked at")
        await asyncio.sleep(CHECK_SECONDS)


def router(service: str) -> APIRouter:
    """The operators' routes of one service; names carry it, as all services share one reference."""
    prefix = f"/v1/ops/{service}"
    routes = routing.router(prefix=prefix, tags=["ops"])

    @routes.get("", name=f"get_{service}_state")
    async def get_state(request: Request, _: Operator) -> ServiceState:
        """How the service does: reasons it is not ready, versions, lag, jobs, books."""
        runtime: Runtime = request.app.state.runtime
        ready = await readiness(runtime)
        return ServiceState(
            service=service,
            ready=not ready.reasons,
            reasons=ready.reasons,
            versions=ServiceVersions(
                beam=versions.BEAM,
                python=platform.python_version(),
                postgres=ready.postgres,
                database=ready.database,
                code=runtime.migrations.head,
            ),
            bus=runtime.bus.health(),
            consumers=runtime.bus.lags(),
            jobs=runtime.jobs.health(),
            breakers={b.peer: b.is_open for b in http.breakers_of(service)},
            checks=await look(runtime),
            boards=await _ask(runtime, runtime.boards),
            disk=disk.known(runtime.settings),
            backup_at=ready.backup_at,
        )

    @routes.get("/dead-letters", name=f"list_{service}_dead_letters")
    async def list_dead_letters(
        request: Request,
        session: Session,
        _: Operator,
        all: bool = False,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Page[DeadLetterOut]:
        """Events that a handler gave up, newest first; with `all` also those replayed since."""
        filters, size = {"of": "dead_letters", "all": all}, clamp(limit)
        position = request.app.state.runtime.cursors.read(cursor, filters)
        rows = await deadletters.page(
            session, after=position[0] if position else None, limit=size + 1, open_only=not all
        )
        page = Page[DeadLetterOut](items=[DeadLetterOut.of(row) for row in rows[:size]])
        if len(rows) > size:
            sign = request.app.state.runtime.cursors.write([rows[size - 1].id], filters)
            path = f"{prefix}/dead-letters"
            page.next = link(path, sign, limit=size, all="true" if all else None)
        return page

    @routes.get("/dead-letters/{letter_id}", name=f"get_{service}_dead_letter")
    async def get_dead_letter(session: Session, _: Operator, letter_id: str) -> DeadLetterDetail:
        """One dead letter with its event."""
        return DeadLetterDetail.of(await _letter(session, letter_id))

    @routes.post("/dead-letters/{letter_id}/replay", name=f"replay_{service}_dead_letter")
    async def replay_dead_letter(
        request: Request, session: Session, _: Operator, letter_id: str
    ) -> DeadLetterOut:
        """Run the handler again, now that the cause is mended. Once is enough: a second time
        changes nothing. 409 when it fails again."""
        await request.app.state.runtime.bus.replay(session, letter_id)
        letter = await _letter(session, letter_id)
        await session.refresh(letter)
        return DeadLetterOut.of(letter)

    @routes.get("/staff-actions", name=f"list_{service}_staff_actions")
    async def list_staff_actions(
        request: Request, session: Session, _: Operator, limit: Limit = 50, cursor: Cursor = None
    ) -> Page[StaffActionOut]:
        """What members of the staff changed here, newest first."""
        filters, size = {"of": "staff_actions"}, clamp(limit)
        position = request.app.state.runtime.cursors.read(cursor, filters)
        rows = await audit.page(session, after=position[0] if position else None, limit=size + 1)
        page = Page[StaffActionOut](
            items=[StaffActionOut.model_validate(row) for row in rows[:size]]
        )
        if len(rows) > size:
            sign = request.app.state.runtime.cursors.write([rows[size - 1].id], filters)
            page.next = link(f"{prefix}/staff-actions", sign, limit=size)
        return page

    return routes


async def _letter(session: Session, letter_id: str) -> DeadLetter:
    letter = await session.get(DeadLetter, letter_id)
    if letter is None or letter.died_at is None:
        raise NotFound("没有这条死信。", "There is no such dead letter.")
    return letter
