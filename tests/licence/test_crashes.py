"""The service is killed at every named point on the way to a licence: exactly one comes out."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.case import CaseDecided
from kit.db import open_engine, open_sessions
from kit.ids import new_id
from kit.inbox import apply
from kit.testing import ISSUER, Ground, until
from licence_svc.subscribers import on

from .conftest import Others, decided

pytestmark = pytest.mark.long
KILLED = -9


@dataclass
class Fragile:
    """licence-svc as a process, on a database that outlives it."""

    settings: dict[str, str]
    engine: AsyncEngine
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self, crash: str = "") -> None:
        command = ["-m", "uvicorn", "--factory", "licence_svc.main:create_app", "--port", "0"]
        settings = {**self.settings, "CRASH": crash}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command, "--log-level", "warning"],
                env={**os.environ, **{f"BEAM_{name}": value for name, value in settings.items()}},
                stdout=log,
                stderr=log,
            )

    async def dies_at(self, point: str) -> None:
        self.start(point)

        async def fell() -> bool:
            assert self.process is not None
            return self.process.poll() is not None

        await until(fell, seconds=60)
        assert self.process is not None
        assert self.process.returncode == KILLED, self.log.read_text()[-2000:]

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    async def column(self, query: str) -> list[Any]:
        async with self.engine.connect() as connection:
            return list((await connection.execute(text(query))).scalars())

    async def lease_is_over(self) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(text("update licence_order set next_try_at = now()"))

    async def one_licence(self, seconds: float = 30) -> None:
        async def there() -> list[Any]:
            return await self.column("select licence_id from licence_order where state = 'issued'")

        [licence_id] = await until(there, seconds=seconds)
        assert await self.column("select id from licence") == [licence_id]
        emitted = "select body::jsonb ->> 'subject' from outbox order by seq"
        assert await self.column(emitted) == [licence_id]


@pytest.fixture
async def fragile(
    ground: Ground, nats_url: str, others: Others, tmp_path: Path
) -> AsyncIterator[Fragile]:
    database = await ground.database("licence_svc")
    settings = {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database,
        "NATS_URL": nats_url,
        "ISSUER": ISSUER,
        "JWKS_URL": ground.jwks.as_uri(),
        "VAULT_KEY_FILE": str(ground.vault_file),
        "IDENTITY_URL": others.url,
        "TOKEN_URL": f"{others.url}/oauth2/token",
        "CASE_URL": others.url,
    }
    engine = open_engine(database)
    made = Fragile(settings, engine, tmp_path / "licence.log")
    subscription = next(s for s in on.subscriptions if s.event_type is CaseDecided)
    delivery = subscription.read(decided(new_id("case")).model_dump_json().encode())
    async with open_sessions(engine).begin() as session:
        await apply(session, subscription, subscription.durable("licence"), [delivery])
    yield made
    made.stop()
    await engine.dispose()


async def test_killed_at_every_point_one_licence_comes_out(fragile: Fragile) -> None:
    for point in ("licence_asked", "licence_in_transaction"):
        await fragile.dies_at(point)
        assert await fragile.column("select id from licence") == []
        await fragile.lease_is_over()
    await fragile.dies_at("licence_issued")
    await fragile.lease_is_over()
    fragile.start()
    await fragile.one_licence()
    await asyncio.sleep(1)
    await fragile.one_licence()


async def test_an_order_closed_before_its_licence_is_noticed(fragile: Fragile) -> None:
    """The bug that the check guards against: the order counts as done, its licence is lost."""
    await fragile.dies_at("licence_in_transaction")
    async with fragile.engine.begin() as connection:
        await connection.execute(text("update licence_order set state = 'issued'"))
    fragile.start()
    with pytest.raises(AssertionError):
        await fragile.one_licence(seconds=3)
