"""payment-svc on real PostgreSQL and NATS, WeChat Pay's sandbox as a process beside it, and its
call-backs over a real port."""

import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from contracts.case import CaseDecided, CaseFeeDue, CaseWithdrawn
from contracts.event import Event
from kit.ids import new_id
from kit.outbox import emit
from kit.runtime import Runtime
from kit.testing import Ground, Running, key, serve, until
from sandbox.book import Book
from sandbox.testing import Sandbox, free_port, sandbox
from sandbox.wechat.notices import Notices
from sandbox.wechat.wire import Wire

PAYER = "acc_zhangsan"


@dataclass
class Town:
    """The service, its outside, and what a test says and asks most."""

    ground: Ground
    service: Running
    outside: Sandbox
    url: str

    @property
    def runtime(self) -> Runtime:
        return self.service.runtime

    async def tell(self, event: Event, *, version: int, dept: str = "SAMR") -> None:
        """Publish an event of case-svc through the real stream."""
        case_id = event.model_dump()["case_id"]
        async with self.runtime.sessions.begin() as session:
            emit(session, event, subject=case_id, version=version, region="310115", dept=dept)

    async def fee_due(self, case_id: str, amount_fen: int = 8000, *, version: int = 5) -> None:
        fee = CaseFeeDue(
            case_id=case_id,
            applicant_id=PAYER,
            item_code="A05",
            item_name="食品经营许可",
            fee_code="FEE-A05",
            amount_fen=amount_fen,
        )
        await self.tell(fee, version=version)

    async def withdraw(self, case_id: str, *, version: int = 6) -> None:
        await self.tell(CaseWithdrawn(case_id=case_id, applicant_id=PAYER), version=version)

    async def decide(self, case_id: str, outcome: Any, *, version: int = 6) -> None:
        decided = CaseDecided(case_id=case_id, applicant_id=PAYER, item_code="A05", outcome=outcome)
        await self.tell(decided, version=version)

    async def order(self, amount_fen: int = 8000) -> str:
        """The id of a new order."""
        case_id = new_id("case")
        await self.fee_due(case_id, amount_fen)
        found = await until(lambda: self.of_case(case_id))
        return str(found[0]["id"])

    async def of_case(self, case_id: str) -> list[dict[str, Any]]:
        answer = await self.service.client.get(
            "/v1/payments", params={"case_id": case_id}, headers=self.ground.person(PAYER)
        )
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def get(self, order_id: str) -> dict[str, Any]:
        answer = await self.service.client.get(
            f"/v1/payments/{order_id}", headers=self.ground.person(PAYER)
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def start(self, order_id: str, *, status: int = 201) -> dict[str, Any]:
        answer = await self.service.client.post(
            f"/v1/payments/{order_id}/attempts",
            json={"channel": "wechat_native"},
            headers={**self.ground.person(PAYER), **key()},
        )
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def pay(self, attempt: dict[str, Any]) -> None:
        """The payer scans the code and pays."""
        await self.outside.sim("wechat/pay", code_url=attempt["code_url"])

    async def reaches(self, order_id: str, state: str) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            for job in ("sweep_attempts", "expire_orders", "work_refunds"):
                self.runtime.wake(job)
            found = await self.get(order_id)
            return found if found["state"] == state else None

        found: dict[str, Any] = await until(there, seconds=30)
        return found

    async def attempt_reaches(self, order_id: str, *states: str) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            self.runtime.wake("sweep_attempts")
            attempt: dict[str, Any] = (await self.get(order_id))["attempt"]
            return attempt if attempt["state"] in states else None

        found: dict[str, Any] = await until(there, seconds=30)
        return found

    async def refunded(self, order_id: str) -> list[dict[str, Any]]:
        """The refunds of an order, once there are some and all have succeeded."""

        async def there() -> list[dict[str, Any]] | None:
            self.runtime.wake("work_refunds")
            refunds: list[dict[str, Any]] = (await self.get(order_id))["refunds"]
            done = refunds and all(refund["state"] == "succeeded" for refund in refunds)
            return refunds if done else None

        found: list[dict[str, Any]] = await until(there, seconds=30)
        return found

    async def events(self, order_id: str) -> list[dict[str, Any]]:
        """What was told of an order, in order: envelopes."""
        bodies = await self.column(
            "select body from outbox where body::jsonb ->> 'subject' = :id order by seq",
            id=order_id,
        )
        return [json.loads(body) for body in bodies]

    async def types(self, order_id: str) -> list[str]:
        return [e["type"].removeprefix("cn.beam.payment.") for e in await self.events(order_id)]

    async def column(self, query: str, **values: Any) -> list[Any]:
        async with self.runtime.sessions() as session:
            return list(await session.scalars(text(query), values))

    async def book(self, order_id: str) -> dict[str, list[dict[str, Any]]]:
        """What WeChat Pay knows of an order's attempts."""
        numbers = await self.column(
            "select trade_no from attempt where order_id = :id", id=order_id
        )
        book = await self.outside.book("wechat")
        return {
            kind: [row for row in rows if row["out_trade_no"] in numbers]
            for kind, rows in book.items()
        }

    async def clear(self) -> None:
        """Forget the trouble that was planned outside."""
        async with httpx.AsyncClient(base_url=self.outside.url, trust_env=False) as client:
            for what in ("faults", "notices"):
                (await client.delete(f"/_sim/wechat/{what}")).raise_for_status()

    async def notice(self, order_id: str, **changes: Any) -> tuple[dict[str, str], bytes]:
        """A genuine notice that the newest attempt of an order is paid: headers and body.

        `changes` go into what it tells; `notice_id` names it.
        """
        numbers = await self.column(
            "select trade_no from attempt where order_id = :id order by n desc", id=order_id
        )
        return self.sign({"out_trade_no": numbers[0], **changes})

    @cached_property
    def wire(self) -> Wire:
        """WeChat Pay's pen, to sign what it never said."""
        return Wire(self.outside.keys, Book(self.outside.folder / "notices"))

    def sign(self, told: dict[str, Any]) -> tuple[dict[str, str], bytes]:
        wire = self.wire
        notice_id = told.pop("notice_id", new_id("n"))
        plain = {
            "mchid": wire.side.mchid,
            "appid": wire.side.appid,
            "trade_state": "SUCCESS",
            "transaction_id": new_id("42")[:28],
            "success_time": datetime.now(UTC).replace(microsecond=0).isoformat(),
            "amount": {"total": 8000, "currency": "CNY"},
            **told,
        }
        content = {
            "event_type": "TRANSACTION.SUCCESS",
            "original_type": "transaction",
            "summary": "支付成功",
            "plain": plain,
        }
        post = {
            "id": notice_id,
            "content": json.dumps(content),
            "created_at": time.time(),
            "signtest": 0,
        }
        return Notices(wire).render(post)

    async def call_back(self, headers: dict[str, str], body: bytes) -> httpx.Response:
        return await self.service.client.post("/callbacks/wechat", headers=headers, content=body)

    async def balance(self) -> dict[str, int]:
        """Balances by account; their sum is checked."""
        answer = await self.service.client.get(
            "/v1/ledger/balance", headers=self.ground.staff("operator", "DATA")
        )
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["total_fen"] == 0
        return {row["account"]: row["balance_fen"] for row in body["accounts"]}


@pytest.fixture(scope="module")
async def town(
    ground: Ground, nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    async with open_town(ground, nats_url, tmp_path_factory) as opened:
        yield opened


@pytest.fixture(autouse=True)
async def no_trouble_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    yield
    if "town" in request.fixturenames:
        await request.getfixturevalue("town").clear()


@contextlib.asynccontextmanager
async def open_town(
    ground: Ground,
    nats_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    refund_seconds: float = 0.2,
    **settings: Any,
) -> AsyncIterator[Town]:
    folder, port = tmp_path_factory.mktemp("outside"), free_port()
    own = {
        "wechat_notify_url": f"http://127.0.0.1:{port}",
        "wechat_timeout": 1.0,
        "payment_tempo": 0.01,
        **settings,
    }
    async with sandbox(folder, hang_seconds=3, refund_seconds=refund_seconds) as outside:
        own |= {"wechat_base_url": outside.url, "wechat_keys": outside.keys / "wechat"}
        async with (
            ground.service("payment_svc", nats=nats_url, **own) as service,
            serve(service.app, port=port, lifespan="off") as url,
        ):
            yield Town(ground, service, outside, url)
