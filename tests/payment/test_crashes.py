"""The service is killed at every named point, one after the other, on the way of one fee: it goes
on where it stood, and what the channel and our books know is as if nothing had happened."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from kit.db import open_engine, open_sessions
from kit.ids import new_id
from kit.testing import ISSUER, Ground, key, until
from payment_svc import ledger, orders
from sandbox.testing import Sandbox, free_port, sandbox

from .conftest import PAYER

pytestmark = pytest.mark.long
KILLED = -9


@dataclass
class Fragile:
    """payment-svc as a process, on a database that outlives it."""

    ground: Ground
    outside: Sandbox
    database: str
    engine: AsyncEngine
    nats: str
    folder: Path
    plant: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    async def start(self, crash: str = "") -> None:
        settings = {
            "ENVIRONMENT": "test",
            "DATABASE_URL": self.database,
            "NATS_URL": self.nats,
            "ISSUER": ISSUER,
            "JWKS_URL": self.ground.jwks.as_uri(),
            "VAULT_KEY_FILE": str(self.ground.vault_file),
            "WECHAT_BASE_URL": self.outside.url,
            "WECHAT_KEYS": str(self.outside.keys / "wechat"),
            "WECHAT_NOTIFY_URL": f"http://127.0.0.1:{self.port}",
            "PAYMENT_TEMPO": "0.01",
            "CRASH": crash,
            "PLANT": self.plant,
        }
        command = ["-m", "uvicorn", "--factory", "payment_svc.main:create_app"]
        with (self.folder / "payment.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command, "--port", str(self.port), "--log-level", "warning"],
                env={**os.environ, **{f"BEAM_{name}": value for name, value in settings.items()}},
                stdout=log,
                stderr=log,
            )
        await until(self.answers, seconds=60)

    async def answers(self) -> bool:
        return self.dead or await self.call("GET", "/health/live") is not None

    @property
    def dead(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None

    def stop(self) -> None:
        if self.process is not None and not self.dead:
            self.process.kill()
            self.process.wait(10)

    async def call(self, method: str, path: str, **options: Any) -> dict[str, Any] | None:
        """The answer, or None when the service died or was not there."""
        url = f"http://127.0.0.1:{self.port}"
        headers = {**self.ground.person(PAYER), **key()}
        async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
            try:
                answer = await client.request(method, path, headers=headers, **options)
            except httpx.TransportError:
                return None
        assert answer.status_code < 500, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def dies_at(self, point: str, push: Callable[[], Awaitable[Any]]) -> None:
        """Run until the service has killed itself at the point, pushing it on."""
        await self.start(point)

        async def fell() -> bool:
            if not self.dead:
                await push()
            return self.dead

        await until(fell, seconds=60)
        assert self.process is not None
        assert self.process.returncode == KILLED, point

    async def column(self, query: str) -> list[Any]:
        async with self.engine.connect() as connection:
            return list((await connection.execute(text(query))).scalars())

    async def new_order(self, case_id: str) -> str:
        async with open_sessions(self.engine).begin() as session:
            order = await orders.create(
                session,
                case_id=case_id,
                fee_code="F",
                item_code="A05",
                item_name="食品经营许可",
                payer_id=PAYER,
                amount_fen=8000,
                region="310115",
                dept="SAMR",
                case_version=1,
                life=timedelta(hours=1),
            )
            assert order is not None
            return order.id


@pytest.fixture
async def fragile(ground: Ground, nats_url: str, tmp_path: Path) -> AsyncIterator[Fragile]:
    database = await ground.database("payment_svc")
    engine = open_engine(database)
    async with sandbox(tmp_path, refund_seconds=3600) as outside:
        made = Fragile(ground, outside, database, engine, nats_url, tmp_path)
        yield made
        made.stop()
    await engine.dispose()


async def one_order_outside(fragile: Fragile) -> None:
    book = await fragile.outside.book("wechat")
    assert len(book["orders"]) == 1


async def test_killed_at_every_point_nothing_is_lost_or_doubled(fragile: Fragile) -> None:
    case_id = new_id("case")
    path = f"/v1/payments/{await fragile.new_order(case_id)}"

    async def start() -> dict[str, Any] | None:
        return await fragile.call("POST", f"{path}/attempts", json={"channel": "wechat_native"})

    for point in ("p1", "p2", "p3", "p4", "p5", "p6"):
        await fragile.dies_at(point, start)
    await one_order_outside(fragile)
    [code_url] = await fragile.column("select code_url from attempt")
    await fragile.outside.sim("wechat/pay", code_url=code_url)
    for point in ("n0", "n1"):
        await fragile.dies_at(point, lambda: asyncio.sleep(0.1))
    async with open_sessions(fragile.engine).begin() as session:
        await orders.end_case(session, case_id, reason="rejected", case_version=2)
    for point in ("f1", "f2", "f3", "f4"):
        await fragile.dies_at(point, lambda: asyncio.sleep(0.1))
    await fragile.start()
    book = await fragile.outside.book("wechat")
    [asked] = book["refunds"]
    await fragile.outside.sim("wechat/refunds", out_refund_no=asked["out_refund_no"])

    async def refunded() -> bool:
        found = await fragile.call("GET", path)
        return found is not None and found["state"] == "refunded"

    await until(refunded, seconds=30)
    assert (len(book["orders"]), len(book["payments"])) == (1, 1)
    assert await fragile.column("select amount_fen from charge") == [8000]
    assert await fragile.column("select state from refund") == ["succeeded"]
    # (What is sealed every few seconds is told beside it.)
    types = (
        "select split_part(body::jsonb ->> 'type', '.', 4) from outbox "
        "where body::jsonb ->> 'type' not like '%.audit_sealed.%' order by seq"
    )
    assert await fragile.column(types) == ["created", "paid", "refunded"]
    async with open_sessions(fragile.engine)() as session:
        assert [a.balance_fen for a in await ledger.balances(session)] == [0, 0]


async def test_a_new_number_for_each_try_is_noticed(fragile: Fragile) -> None:
    """The planted bug: after a crash the same attempt is placed under another number."""
    fragile.plant = "new_trade_no_per_try"
    path = f"/v1/payments/{await fragile.new_order(new_id('case'))}/attempts"

    async def start() -> dict[str, Any] | None:
        return await fragile.call("POST", path, json={"channel": "wechat_native"})

    await fragile.dies_at("p3", start)
    await fragile.start()
    await until(start)
    with pytest.raises(AssertionError):
        await one_order_outside(fragile)
