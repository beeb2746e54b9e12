"""Operators' doors of a service: who may, dead letters and their replay, the trail, readiness."""

from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import func, select, text

from contracts.case import CaseClosed
from gateway.table import SERVICES
from helpdesk_svc.models import Rating
from kit import deadletters
from kit.audit import StaffAction
from kit.auth import Gate
from kit.ids import new_id
from kit.outbox import seal
from kit.routing import BeamRoute
from kit.testing import Ground, Running, until
from kit.versions import Migrations

PACKAGES = [f"{service}_svc" for service in SERVICES]


@pytest.fixture(scope="module")
async def svc(ground: Ground, nats_url: str) -> AsyncIterator[Running]:
    async with ground.service("helpdesk_svc", nats=nats_url) as running:
        yield running


@pytest.fixture
def operator(ground: Ground) -> dict[str, str]:
    return ground.staff("operator", "SAMR", "stf_o01")


def durable_of(svc: Running) -> str:
    [subscription] = [s for s in svc.runtime.bus.on.subscriptions if s.event_type is CaseClosed]
    return subscription.durable("helpdesk")


async def bury(svc: Running, *, body: bytes | None = None) -> tuple[str, str]:
    """A dead letter in the service's database, as a consumer leaves it; its id and the case's."""
    case_id = new_id("case")
    closed = CaseClosed(
        case_id=case_id,
        applicant_id="acc_zhang",
        item_code="A05",
        item_name="食品经营许可（新办）",
        channel="app",
        outcome="approved",
    )
    sealed = seal(closed, subject=case_id, version=9, region="310115", dept="SAMR")
    async with svc.runtime.sessions.begin() as session:
        await deadletters.note_failure(
            session,
            consumer=durable_of(svc),
            event_id=sealed.id if body is None else uuid4(),
            subject=sealed.subject,
            body=body if body is not None else sealed.body.encode(),
            error=LookupError("a name that must not be told"),
            tries=1,
        )
        letter = await session.scalar(
            select(deadletters.DeadLetter.id).order_by(deadletters.DeadLetter.id.desc()).limit(1)
        )
    assert letter is not None
    return letter, case_id


async def test_only_operators_come_in(svc: Running, ground: Ground) -> None:
    for path in ("", "/dead-letters", "/dead-letters/dead_1", "/staff-actions"):
        address = f"/v1/ops/helpdesk{path}"
        assert (await svc.client.get(address)).status_code == 401
        for headers in (ground.person(), ground.staff("supervisor", "SAMR")):
            refused = await svc.client.get(address, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    replay = "/v1/ops/helpdesk/dead-letters/dead_1/replay"
    assert (
        await svc.client.post(replay, headers=ground.staff("counter", "SAMR"))
    ).status_code == 403


async def test_a_dead_letter_is_read_and_replayed_once(
    svc: Running, operator: dict[str, str]
) -> None:
    letter, case_id = await bury(svc)
    listed = (await svc.client.get("/v1/ops/helpdesk/dead-letters", headers=operator)).json()
    [mine] = [item for item in listed["items"] if item["id"] == letter]
    assert mine["event_type"] == f"cn.beam.{CaseClosed.TYPE}"
    assert mine["error"].startswith("LookupError")
    assert "must not be told" not in str(listed)
    one = (await svc.client.get(f"/v1/ops/helpdesk/dead-letters/{letter}", headers=operator)).json()
    assert one["event"]["data"]["case_id"] == case_id

    for _ in range(2):
        path = f"/v1/ops/helpdesk/dead-letters/{letter}/replay"
        replayed = await svc.client.post(path, headers=operator)
        assert replayed.status_code == 200, replayed.text
        assert replayed.json()["replayed_at"] is not None
    async with svc.runtime.sessions() as session:
        made = select(func.count()).select_from(Rating).where(Rating.case_id == case_id)
        assert await session.scalar(made) == 1
    again = (await svc.client.get("/v1/ops/helpdesk/dead-letters", headers=operator)).json()
    assert letter not in [item["id"] for item in again["items"]]
    every = await svc.client.get("/v1/ops/helpdesk/dead-letters?all=true", headers=operator)
    assert letter in [item["id"] for item in every.json()["items"]]


async def test_what_nobody_can_read_is_shown_and_fails_again(
    svc: Running, operator: dict[str, str]
) -> None:
    letter, _ = await bury(svc, body=b"\xff\x00 no event")
    path = f"/v1/ops/helpdesk/dead-letters/{letter}"
    one = (await svc.client.get(path, headers=operator)).json()
    assert (one["event"], one["event_type"], one["size"]) == (None, None, 11)
    failed = await svc.client.post(f"{path}/replay", headers=operator)
    assert (failed.status_code, failed.json()["code"]) == (409, "replay_failed")
    unknown = await svc.client.post(
        "/v1/ops/helpdesk/dead-letters/dead_none/replay", headers=operator
    )
    assert unknown.status_code == 404


async def test_dead_letters_come_in_pages(svc: Running, operator: dict[str, str]) -> None:
    ids = {(await bury(svc))[0] for _ in range(5)}
    seen: list[str] = []
    path: str | None = "/v1/ops/helpdesk/dead-letters?limit=2"
    while path is not None:
        page = (await svc.client.get(path, headers=operator)).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        path = page["next"]
    assert ids <= set(seen)
    assert len(seen) == len(set(seen))


async def test_every_write_of_staff_leaves_a_line_with_its_effect(
    svc: Running, operator: dict[str, str]
) -> None:
    good, _ = await bury(svc)
    bad, _ = await bury(svc, body=b"nothing")
    for letter in (good, bad):
        path = f"/v1/ops/helpdesk/dead-letters/{letter}/replay"
        await svc.client.post(path, headers=operator | {"x-request-id": f"req-{letter}"})
    trail = (await svc.client.get("/v1/ops/helpdesk/staff-actions", headers=operator)).json()
    lines = {line["request_id"]: line for line in trail["items"]}
    assert f"req-{bad}" not in lines
    line = lines[f"req-{good}"]
    assert (line["actor"], line["dept"]) == ("stf_o01", "SAMR")
    assert line["action"] == "replay_helpdesk_dead_letter"
    assert line["things"] == {"letter_id": good}
    assert len(line["trace_id"]) == 32


async def test_the_trail_is_for_staff_alone_and_is_never_read_as_a_write(
    svc: Running, ground: Ground, operator: dict[str, str]
) -> None:
    async def lines() -> int:
        async with svc.runtime.sessions() as session:
            return await session.scalar(select(func.count()).select_from(StaffAction)) or 0

    letter, case_id = await bury(svc)
    path = f"/v1/ops/helpdesk/dead-letters/{letter}/replay"
    await svc.client.post(path, headers=operator)
    before = await lines()
    await svc.client.get("/v1/ops/helpdesk/dead-letters", headers=operator)
    async with svc.runtime.sessions() as session:
        rating = await session.scalar(select(Rating.id).where(Rating.case_id == case_id))
    given = await svc.client.post(
        f"/v1/ratings/{rating}/submit", json={"score": 5}, headers=ground.person("acc_zhang")
    )
    assert given.status_code == 200, given.text
    assert await lines() == before


async def test_the_state_of_a_service(svc: Running, operator: dict[str, str]) -> None:
    async def settled() -> Any:
        await svc.runtime.bus.sample()
        told = (await svc.client.get("/v1/ops/helpdesk", headers=operator)).json()
        return told if told["ready"] and told["consumers"][0].get("pending") == 0 else None

    state = await until(settled)
    assert state["reasons"] == []
    assert state["versions"]["database"] == state["versions"]["code"] == "0002"
    assert state["versions"]["postgres"]
    assert [job["name"] for job in state["jobs"]] == [
        "lapse_ratings",
        "seal_trails",
        "check_trails",
    ]
    assert state["bus"]["connected"] is True


async def test_a_database_behind_the_code_is_a_reason(ground: Ground, nats_url: str) -> None:
    async with ground.service("payment_svc", nats=nats_url) as svc:

        async def ready() -> Any:
            answer = await svc.client.get("/health/ready")
            return answer.json() if answer.status_code == 200 else None

        await until(ready)
        head = svc.runtime.migrations.head
        for version, reason in (
            ("0001", f"migrations: database at 0001, code at {head}"),
            (None, f"migrations: database at nothing, code at {head}"),
        ):
            async with svc.runtime.sessions.begin() as session:
                await session.execute(text("delete from alembic_version"))
                if version:
                    insert = text("insert into alembic_version values (:v)")
                    await session.execute(insert, {"v": version})
            answer = await svc.client.get("/health/ready")
            assert (answer.status_code, answer.json()["reasons"]) == (503, [reason])
        # A newer database than the code is what a rolling upgrade looks like.
        async with svc.runtime.sessions.begin() as session:
            await session.execute(text("insert into alembic_version values ('9999')"))
        assert (await svc.client.get("/health/ready")).status_code == 200


@pytest.mark.parametrize("package", PACKAGES)
def test_no_write_of_staff_goes_past_the_trail(package: str) -> None:
    """The common route class writes the trail; a route of another class must not admit staff."""
    settings = import_module(f"{package}.settings").Settings(
        database_url="postgresql+asyncpg://", environment="test"
    )
    app = import_module(f"{package}.main").create_app(settings)
    past = []
    for found in iter_route_contexts(app.routes):
        route = found.original_route
        if not isinstance(route, APIRoute) or isinstance(route, BeamRoute):
            continue
        if route.methods and route.methods <= {"GET", "HEAD"}:
            continue
        gates = [d.call for d in route.dependant.dependencies if isinstance(d.call, Gate)]
        past += [route.path for gate in gates if not gate.kinds or "staff" in gate.kinds]
    # OpenID Connect wants reading by POST too.
    assert set(past) <= {"/oauth2/userinfo"}


def test_versions_are_read_as_alembic_reads_them() -> None:
    from kit.migrate import head

    for package in PACKAGES:
        assert Migrations.of(package).head == head(package)


async def test_the_age_of_the_last_backup_is_told(ground: Ground, nats_url: str) -> None:
    async with ground.service("payment_svc", nats=nats_url) as svc:
        headers = ground.staff("operator", "SAMR", "stf_o01")
        state = (await svc.client.get("/v1/ops/payment", headers=headers)).json()
        assert state["backup_at"] is None
        assert state["boards"]["money"]["refunds_refused"] == {"count": 0, "oldest_at": None}
        name = svc.runtime.engine.url.database
        for comment, told in (
            ("backup 2026-11-22T10:00:00Z", "2026-11-22T10:00:00"),
            ("backup of a friend", None),
            ("holds money", None),
        ):
            async with svc.runtime.sessions.begin() as session:
                await session.execute(text(f"comment on database {name} is '{comment}'"))
            state = (await svc.client.get("/v1/ops/payment", headers=headers)).json()
            assert (state["backup_at"] or "")[:19] == (told or "")
