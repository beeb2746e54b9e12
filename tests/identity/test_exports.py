"""A copy of one's data: asked for after a fresh sign-in, gathered, sealed, read for seven days."""

import contextlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, update

from identity_svc import archives, exports, jobs, seed
from identity_svc.models import AccessLog, LoginSession
from identity_svc.models_exports import DataExport, ExportPage, ExportSource
from kit.clock import now
from kit.testing import Ground, key, serve

from .conftest import House, bearer

WHO = "acc_zhangsan"
SECRET = "合欢路100号1201室"


@dataclass
class Sources:
    """The services that are asked: three pages of one part each; who is away."""

    away: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/token")
        async def token() -> dict[str, Any]:
            return {"access_token": "of-svc-identity", "expires_in": 600}

        @app.get("/{source}/internal/v1/accounts/{account_id}/export")
        async def export(
            source: str, account_id: str, purpose: str, cursor: str | None = None
        ) -> dict[str, Any]:
            at = int(cursor or 0)
            self.asked.append(f"{source}:{at}")
            if source in self.away and at == 1:
                raise HTTPException(503)
            return {
                "part": source,
                "title": f"{source}·中文",
                "title_en": source,
                "items": [{"id": f"{source}{at}{n}", "text": SECRET} for n in range(2)],
                "next": str(at + 1) if at < 2 else None,
            }

        return app


@pytest.fixture(scope="module")
async def world(
    ground: Ground, nats_url: str, secrets_file: Path
) -> AsyncIterator[tuple[House, Sources]]:
    sources = Sources()
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(serve(sources.app()))
        urls = {f"{name}_url": f"{url}/{name}" for name in (*exports.ELSEWHERE, "token")}
        running = await stack.enter_async_context(
            ground.service("identity_svc", nats=nats_url, service_secrets_file=secrets_file, **urls)
        )
        await seed.seed(running.runtime)
        yield House(running), sources


@pytest.fixture
async def house(world: tuple[House, Sources]) -> House:
    async with world[0].running.runtime.sessions.begin() as session:
        await session.execute(delete(DataExport))
        await session.execute(update(LoginSession).values(auth_time=now()))
    return world[0]


@pytest.fixture
def sources(world: tuple[House, Sources]) -> Sources:
    world[1].away, world[1].asked = set(), []
    return world[1]


async def ask(house: House, headers: dict[str, str]) -> httpx.Response:
    return await house.http.post("/v1/me/exports", headers={**headers, **key()})


async def gathered(house: House, headers: dict[str, str], export_id: str) -> dict[str, Any]:
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(update(DataExport).values(due_at=now()))
    await jobs.gather_exports(house.running.runtime)
    answer = await house.http.get(f"/v1/me/exports/{export_id}", headers=headers)
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
async def quiet(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is gathered but when the test says so."""
    monkeypatch.setattr(exports, "wake", lambda *_: None)


async def test_asked_gathered_and_read(house: House, sources: Sources, quiet: None) -> None:
    headers = bearer(await house.signed_in())
    asked = await ask(house, headers)
    assert asked.status_code == 201, asked.text
    export_id = asked.json()["id"]
    assert {one["source"] for one in asked.json()["sources"]} == {"identity", *exports.ELSEWHERE}
    early = await house.http.get(f"/v1/me/exports/{export_id}/archive", headers=headers)
    assert (early.status_code, early.json()["code"]) == (409, "conflict")
    again = await ask(house, headers)
    assert (again.status_code, again.json()["code"]) == (409, "conflict"), "one at a time"

    sources.away = {"payment"}
    found = await gathered(house, headers, export_id)
    told = {one["source"]: one["done"] for one in found["sources"]}
    assert (found["state"], told.pop("payment")) == ("gathering", False)
    assert all(told.values()), "one that is away holds up nobody else"
    sources.away, sources.asked = set(), []
    found = await gathered(house, headers, export_id)
    assert found["state"] == "ready"
    assert sources.asked == ["payment:1", "payment:2"], "what was told is not asked again"

    answer = await house.http.get(f"/v1/me/exports/{export_id}/archive", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    account = json.loads(files["account.json"])[0]
    assert (account["name"], account["phone"]) == ("张三", "13800000001"), "not masked"
    assert [row["id"] for row in json.loads(files["payment.json"])] == [
        f"payment{page}{n}" for page in range(3) for n in range(2)
    ]
    assert {"sign_ins.json", "access_log.json", "mandates.json", "index.html"} <= files.keys()
    assert "payment·中文" in files["index.html"]
    issuer = house.running.runtime.settings.issuer
    assert f'接在 <a href="{issuer}/">' in files["index.html"], "where the documents are"
    assert "password" not in {word for row in json.loads(files["account.json"]) for word in row}
    async with house.running.runtime.sessions() as session:
        stored = (await session.scalars(select(ExportPage.content))).all()
        logged = await session.scalar(
            select(func.count()).where(AccessLog.account_id == WHO, AccessLog.purpose == "export")
        )
    assert all(SECRET.encode() not in content for content in stored), "sealed at rest"
    assert logged == 1

    other = bearer(await house.signed_in("13800000002"))
    for path in ("", "/archive"):
        foreign = await house.http.get(f"/v1/me/exports/{export_id}{path}", headers=other)
        assert foreign.status_code == 404
    new = await ask(house, headers)
    assert new.status_code == 201
    listed = (await house.http.get("/v1/me/exports", headers=headers)).json()["items"]
    assert [one["id"] for one in listed] == [new.json()["id"]], "the one before is deleted"


async def test_deleted_after_seven_days(house: House, sources: Sources, quiet: None) -> None:
    headers = bearer(await house.signed_in())
    export_id = (await ask(house, headers)).json()["id"]
    assert (await gathered(house, headers, export_id))["state"] == "ready"
    async with house.running.runtime.sessions.begin() as session:
        row = await session.get_one(DataExport, export_id)
        assert row.ready_at is not None
        assert row.due_at - row.ready_at == timedelta(days=7)
    found = await gathered(house, headers, export_id)
    assert found["state"] == "expired"
    gone = await house.http.get(f"/v1/me/exports/{export_id}/archive", headers=headers)
    assert gone.status_code == 404
    async with house.running.runtime.sessions() as session:
        for model in (ExportPage, ExportSource):
            assert await session.scalar(select(func.count()).select_from(model)) == 0


async def test_an_old_sign_in_gets_nothing(house: House, sources: Sources, quiet: None) -> None:
    headers = bearer(await house.signed_in())
    export_id = (await ask(house, headers)).json()["id"]
    await gathered(house, headers, export_id)
    async with house.running.runtime.sessions.begin() as session:
        old = now() - timedelta(minutes=11)
        await session.execute(update(LoginSession).values(auth_time=old))
    for answer in (
        await ask(house, headers),
        await house.http.get(f"/v1/me/exports/{export_id}/archive", headers=headers),
    ):
        assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_again")


async def test_two_processes_bring_every_page_once(
    house: House, sources: Sources, quiet: None
) -> None:
    runtime, headers = house.running.runtime, bearer(await house.signed_in())
    await ask(house, headers)
    async with runtime.sessions.begin() as session:
        first = await exports.take(session)
    async with runtime.sessions.begin() as session:
        assert await exports.take(session) is None, "somebody works on it"
    assert first is not None
    await exports.gather(runtime, first)
    await exports.gather(runtime, first)  # as a process whose lease ran out
    async with runtime.sessions() as session:
        count = select(func.count()).where(ExportPage.source == "case")
        assert await session.scalar(count) == 3
        row = await session.get_one(DataExport, first.id)
    assert (row.state, row.version) == ("ready", 2)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=20)), max_size=8))
def test_the_index_never_breaks_out_of_its_page(parts: list[tuple[str, str]]) -> None:
    at = now()
    export = DataExport(id="exp", account_id="acc", asked_at=at, ready_at=at)
    pages = [
        {"source": "x", "n": n, "part": part, "title": title, "title_en": title, "records": 1}
        for n, (part, title) in enumerate(parts)
    ]
    page = archives.index(export, pages, "https://beam.example")
    assert page.count("<td>") == page.count("</td>") - page.count('<td lang="en">')
    assert page.count("<tr>") == page.count("</tr>")
