"""Closing an account: asked for after a fresh sign-in, seven days to think, then erased."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from sqlalchemy import select, text, update

from contracts.licence import LicenceIssued
from identity_svc import accounts, closings, jobs, seed
from identity_svc.models import Account, Consent, LoginSession, RefreshFamily
from identity_svc.models_agency import Appointment, Mandate
from identity_svc.models_closing import AccountClosing
from identity_svc.models_sign_in import Passkey, WeChatBinding
from kit.clock import now
from kit.ids import new_id
from kit.outbox import Outbox
from kit.testing import Ground, key, serve

from .conftest import Browser, House, Start, bearer

PERSON = {"name": "赵六", "id_number": "11010519491231002X"}
PASSWORD = "a long enough secret"


@dataclass
class Keepers:
    """The services that are asked what is open: what they answer, and who is away."""

    open: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    away: bool = False
    asked: int = 0

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/oauth2/token")
        async def token() -> dict[str, Any]:
            return {"access_token": "of-svc-identity", "expires_in": 600}

        @app.get("/internal/v1/accounts/{account_id}/open-matters")
        async def open_matters(account_id: str) -> dict[str, Any]:
            self.asked += 1
            if self.away and self.asked % 3 == 0:
                raise HTTPException(503)
            found = self.open.get(account_id, []) if self.asked % 3 == 1 else []
            return {"items": found}

        return app


@pytest.fixture(scope="module")
async def world(
    ground: Ground, nats_url: str, secrets_file: Path
) -> AsyncIterator[tuple[House, Keepers]]:
    keepers = Keepers()
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(serve(keepers.app()))
        urls = {f"{name}_url": url for name in ("case", "payment", "logistics", "token")}
        running = await stack.enter_async_context(
            ground.service(
                "identity_svc",
                nats=nats_url,
                service_secrets_file=secrets_file,
                **urls | {"token_url": f"{url}/oauth2/token"},
            )
        )
        await seed.seed(running.runtime)
        yield House(running), keepers


@pytest.fixture
def house(world: tuple[House, Keepers]) -> House:
    return world[0]


@pytest.fixture
def keepers(world: tuple[House, Keepers]) -> Keepers:
    world[1].open, world[1].away, world[1].asked = {}, False, 0
    return world[1]


async def newcomer(
    house: House, phone: str, id_number: str | None = None
) -> tuple[str, Browser, dict[str, str]]:
    """A person at L2 who signed in just now: the account's id, the browser, the headers."""
    runtime, account_id = house.running.runtime, new_id("acc")
    async with runtime.sessions.begin() as session:
        assert await accounts.register(
            session,
            runtime.vault,
            name=PERSON["name"],
            id_number=id_number,
            phone=phone,
            level="L2",
            password_hash=await runtime.parts["door"].passwords.hash(PASSWORD),
            account_id=account_id,
        ), "number and telephone are free"
    browser, start = house.browser(), Start()
    back = await browser.sign_in(start, phone, PASSWORD)
    return account_id, browser, bearer((await house.exchange(start, back["code"])).json())


async def ask(house: House, headers: dict[str, str]) -> httpx.Response:
    return await house.http.post("/v1/me/closing", headers={**headers, **key()})


async def days_are_over(house: House, account_id: str) -> None:
    async with house.running.runtime.sessions.begin() as session:
        mine = AccountClosing.account_id == account_id
        await session.execute(update(AccountClosing).where(mine).values(closes_at=now()))
    await jobs.close_accounts(house.running.runtime)


async def row(house: House, model: Any, **where: Any) -> Any:
    async with house.running.runtime.sessions() as session:
        return await session.scalar(select(model).filter_by(**where).limit(1))


async def told(house: House, account_id: str) -> list[str]:
    async with house.running.runtime.sessions() as session:
        closed = Outbox.subject.startswith("evt.identity.account_closed.v1.")
        bodies = await session.scalars(select(Outbox.body).where(closed))
        return [body for body in bodies if account_id in body]


async def test_closed_after_seven_days(house: House, keepers: Keepers) -> None:
    account_id, browser, headers = await newcomer(house, "13900000401", PERSON["id_number"])
    runtime = house.running.runtime
    async with runtime.sessions.begin() as session:
        at = now()
        session.add(WeChatBinding(user_index="wx-401", account_id=account_id, added_at=at))
        session.add(
            Passkey(
                id=new_id("key"),
                account_id=account_id,
                credential_id=b"401",
                public_key=b"x",
                sign_count=0,
                name=b"x",
                device_bound=True,
                added_at=at,
            )
        )
        session.add(
            Consent(account_id=account_id, client_id="demo-app", scopes=["openid"], given_at=at)
        )
        for number, side in enumerate(("principal_id", "agent_id")):
            mandate = Mandate(
                id=new_id("mnd"),
                label=b"x",
                asked_by="principal",
                state="active",
                version=2,
                principal_id="acc_lisi",
                agent_id="acc_lisi",
                valid_from=at,
                valid_until=at + timedelta(days=9 + number),
                uses=0,
            )
            setattr(mandate, side, account_id)
            session.add(mandate)
    asked = await ask(house, headers)
    assert asked.status_code == 201, asked.text
    assert (asked.json()["state"], asked.json()["matters"]) == ("asked", [])
    again = await ask(house, headers)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    await jobs.close_accounts(runtime)
    assert (await house.http.get("/v1/me", headers=headers)).status_code == 200, "not yet"
    await days_are_over(house, account_id)

    closed = await row(house, Account, id=account_id)
    empty = ("id_number", "id_index", "phone", "phone_index", "password_hash", "former_phone")
    assert [getattr(closed, name) for name in empty] == [None] * 6
    assert (closed.state, closed.level) == ("closed", "L0")
    assert accounts.name_and_number(runtime.vault, closed) == (accounts.GONE, None)
    for model in (WeChatBinding, Passkey, Consent):
        assert await row(house, model, account_id=account_id) is None
    assert (await row(house, LoginSession, account_id=account_id)).ended_at is not None
    assert (await row(house, RefreshFamily, account_id=account_id)).state == "revoked"
    for side in ("principal_id", "agent_id"):
        assert (await row(house, Mandate, **{side: account_id})).state == "revoked"
    assert (await row(house, AccountClosing, account_id=account_id)).state == "done"
    (event,) = await told(house, account_id)
    assert PERSON["name"] not in event
    async with runtime.sessions.begin() as session:
        await closings.finish(
            session, runtime.vault, (await row(house, AccountClosing)).id, elsewhere=[]
        )
    assert len(await told(house, account_id)) == 1, "once, however often the job runs"
    assert (await browser.get(Start().url)).status_code == 200, "the login page, not a code"

    late = LicenceIssued(
        licence_id=new_id("lic"),
        licence_type="LT-FOOD",
        holder_id=account_id,
        case_id=None,
        item_code="A05",
        valid_from=now().date(),
        valid_until=None,
    )
    await house.running.hear(late, times=2, subject=late.licence_id, version=1)
    async with runtime.sessions() as session:
        facts = await session.scalar(
            text("select count(*) from profile_fact where account_id = :id"), {"id": account_id}
        )
    assert facts == 0, "nothing is learnt of a closed account"
    again_id, _, _ = await newcomer(house, "13900000401", PERSON["id_number"])
    assert again_id != account_id, "number and telephone are free for a new registration"


async def test_refused_while_something_is_open(house: House, keepers: Keepers) -> None:
    headers = bearer(await house.signed_in("13800000002"))
    keepers.open = {"acc_lisi": [{"kind": "case", "id": "case_1"}]}
    refused = await ask(house, headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "open_matters")
    assert refused.json()["matters"] == [{"kind": "case", "id": "case_1"}]
    assert await row(house, AccountClosing, account_id="acc_lisi") is None


async def test_nothing_is_done_while_a_service_is_away(house: House, keepers: Keepers) -> None:
    headers = bearer(await house.signed_in("13800000002"))
    keepers.away = True
    away = await ask(house, headers)
    assert (away.status_code, away.json()["code"]) == (503, "unavailable")
    assert await row(house, AccountClosing, account_id="acc_lisi") is None
    keepers.away, keepers.asked = False, 0
    assert (await ask(house, headers)).status_code == 201
    keepers.away = True
    await days_are_over(house, "acc_lisi")
    assert (await row(house, Account, id="acc_lisi")).state == "active"
    assert (await row(house, AccountClosing, account_id="acc_lisi")).state == "asked"
    keepers.away, keepers.asked = False, 0
    keepers.open = {"acc_lisi": [{"kind": "payment", "id": "pay_1"}]}
    await days_are_over(house, "acc_lisi")
    found = (await house.http.get("/v1/me/closing", headers=headers)).json()
    assert (found["state"], found["matters"]) == ("refused", [{"kind": "payment", "id": "pay_1"}])
    assert (await row(house, Account, id="acc_lisi")).state == "active"


async def test_undone_in_time(house: House, keepers: Keepers) -> None:
    headers = bearer(await house.signed_in())
    nothing = await house.http.delete("/v1/me/closing", headers=headers)
    assert nothing.status_code == 404
    assert (await ask(house, headers)).status_code == 201
    undone = await house.http.delete("/v1/me/closing", headers=headers)
    assert undone.status_code == 204
    await days_are_over(house, "acc_zhangsan")
    assert (await row(house, Account, id="acc_zhangsan")).state == "active"
    twice = await house.http.delete("/v1/me/closing", headers=headers)
    assert (twice.status_code, twice.json()["code"]) == (409, "illegal_move")


async def test_an_old_sign_in_and_a_suspended_account(house: House, keepers: Keepers) -> None:
    account_id, _, headers = await newcomer(house, "13900000402")
    async with house.running.runtime.sessions.begin() as session:
        mine = LoginSession.account_id == account_id
        old = now() - timedelta(minutes=11)
        await session.execute(update(LoginSession).where(mine).values(auth_time=old))
    stale = await ask(house, headers)
    assert (stale.status_code, stale.json()["code"]) == (401, "sign_in_again")
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(update(LoginSession).where(mine).values(auth_time=now()))
    assert (await ask(house, headers)).status_code == 201
    async with house.running.runtime.sessions.begin() as session:
        await accounts.change_state(session, account_id, "suspend")
    await days_are_over(house, account_id)
    assert (await row(house, Account, id=account_id)).state == "suspended"
    async with house.running.runtime.sessions.begin() as session:
        await accounts.change_state(session, account_id, "restore")
    await days_are_over(house, account_id)
    assert (await row(house, Account, id=account_id)).state == "closed"


async def test_a_firm_is_closed_by_its_representative(house: House, keepers: Keepers) -> None:
    """And before the representative's own account."""
    runtime = house.running.runtime
    person_id, _, headers = await newcomer(house, "13900000403")
    firm_id, agent_id = new_id("acc"), "acc_zhangsan"
    async with runtime.sessions.begin() as session:
        await accounts.register(
            session,
            runtime.vault,
            name="一家公司",
            kind="enterprise",
            id_number="91310115MA1K3YXX0X",
            level="L2",
            password_hash=None,
            account_id=firm_id,
        )
        await session.flush()
        for who, role in ((person_id, "legal_representative"), (agent_id, "agent")):
            session.add(
                Appointment(
                    id=new_id("apt"),
                    firm_id=firm_id,
                    person_id=who,
                    role=role,
                    state="active",
                    version=1,
                )
            )
    own = await ask(house, headers)
    assert own.json()["matters"] == [{"kind": "firm", "id": firm_id}]

    async def as_firm(phone: str, password: str) -> dict[str, str]:
        browser, start = house.browser(), Start(changes={"act_for": firm_id})
        back = await browser.sign_in(start, phone, password)
        return bearer((await house.exchange(start, back["code"])).json())

    agent = await ask(house, await as_firm("13800000001", seed.DEMO_PASSWORD))
    assert agent.status_code == 404, "an agent does not close the firm"
    representative = await as_firm("13900000403", PASSWORD)
    asked = await ask(house, representative)
    assert asked.status_code == 201, asked.text
    await days_are_over(house, firm_id)
    assert (await row(house, Account, id=firm_id)).state == "closed"
    assert (await row(house, Appointment, firm_id=firm_id, person_id=agent_id)).state == "removed"
    ended = await row(house, RefreshFamily, account_id=firm_id, actor_id=person_id)
    assert ended.state == "revoked"
    assert (await house.http.get("/v1/me", headers=headers)).status_code == 200
    assert (await ask(house, headers)).status_code == 201, "no firm is left"
