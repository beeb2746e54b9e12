"""Who signed somebody in is told when the sign-in ends, however long it takes."""

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from joserfc import jwk, jwt
from sqlalchemy import delete, select, update

from identity_svc import back_channel, clients
from identity_svc.models import Client, LogoutNotice
from kit.clock import now
from kit.testing import key, until
from sandbox.testing import Call, Listener, listening

from .conftest import CALLBACK, Browser, House, Start, bearer

PARTIES = ("archive", "library")


class Party:
    """The old system of a department: hears of logouts, answers as it is told."""

    def __init__(self) -> None:
        self.status = 200

    def reply(self, _: Call) -> tuple[int, bytes]:
        return self.status, b""


@pytest.fixture(scope="module")
def party() -> Party:
    return Party()


@pytest.fixture(scope="module")
async def ear(house: House, party: Party) -> AsyncIterator[Listener]:
    async with listening(party.reply) as listener:
        async with house.running.runtime.sessions.begin() as session:
            for name in PARTIES:
                made = clients.app(name, "档案", "Archive", [CALLBACK])
                place = f"{listener.url}/{name}"
                await clients.put(session, {**made, "backchannel_logout_uri": place})
        yield listener


@pytest.fixture(autouse=True)
async def _fresh(house: House, ear: Listener, party: Party) -> None:
    party.status = 200
    ear.calls.clear()
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(delete(LogoutNotice))


async def signed_in(
    house: House, *names: str, login: str = "13800000001"
) -> tuple[Browser, list[dict[str, Any]]]:
    """A browser that signed in at these clients, and what each got."""
    browser, got = house.browser(), []
    for name in names:
        start = Start(changes={"client_id": name})
        if got:
            answer = await browser.get(start.url)
            code = httpx.URL(answer.headers["location"]).params["code"]
        else:
            code = (await browser.sign_in(start, login))["code"]
        got.append((await house.exchange(start, code, client_id=name)).json())
    return browser, got


async def claims(house: House, text: str, party: str) -> tuple[dict[str, Any], dict[str, Any]]:
    known = jwk.KeySet.import_key_set((await house.http.get("/.well-known/jwks.json")).json())
    read = jwt.decode(text, known, algorithms=["ES256"])
    return read.header, read.claims


async def notices(house: House) -> list[LogoutNotice]:
    async with house.running.runtime.sessions() as session:
        query = select(LogoutNotice).order_by(LogoutNotice.client_id)
        return list(await session.scalars(query))


async def test_signing_out_is_told_to_everybody_once(house: House, ear: Listener) -> None:
    browser, got = await signed_in(house, *PARTIES, "demo-app")
    _, identity = await claims(house, got[0]["id_token"], "archive")
    hint = {"id_token_hint": got[0]["id_token"], "client_id": "archive"}
    await browser.http.get("/oauth2/logout", params=hint)
    await ear.wait(2)
    assert sorted(call.path for call in ear.calls) == ["/archive", "/library"]
    call = next(call for call in ear.calls if call.path == "/archive")
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    header, said = await claims(house, parse_qs(call.body.decode())["logout_token"][0], "archive")
    assert (header["alg"], header["typ"]) == ("ES256", "logout+jwt")
    assert said["sid"] == identity["sid"]
    assert said["sub"] == identity["sub"] == "acc_zhangsan"
    assert (said["iss"], said["aud"]) == ("http://beam.test", "archive")
    assert said["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert said["jti"]
    assert "nonce" not in said
    assert 0 < said["exp"] - said["iat"] <= 120
    assert abs(said["iat"] - time.time()) < 120

    async def done() -> bool:
        return {notice.state for notice in await notices(house)} == {"delivered"}

    await until(done)
    # A logout token opens no door.
    text = parse_qs(call.body.decode())["logout_token"][0]
    answer = await house.http.get("/v1/me", headers={"authorization": f"Bearer {text}"})
    assert answer.status_code == 401


async def test_a_suspended_account_is_told(house: House, ear: Listener) -> None:
    await signed_in(house, "archive", login="13800000002")
    operator = bearer(await house.signed_in("o01"))
    await house.http.post("/v1/accounts/acc_lisi/suspend", headers=operator)
    try:
        await ear.wait(1)
        assert ear.calls[0].path == "/archive"
    finally:
        await house.http.post("/v1/accounts/acc_lisi/restore", headers=operator)


async def test_who_does_not_answer_is_told_again(house: House, ear: Listener, party: Party) -> None:
    party.status = 503
    browser, _ = await signed_in(house, "archive")
    await browser.get("/oauth2/logout")
    await browser.submit()
    await ear.wait(1)

    async def noted() -> list[LogoutNotice]:
        return [n for n in await notices(house) if n.why == "status 503"]

    first = (await until(noted))[0]
    assert (first.state, first.tries) == ("waiting", 1)
    assert first.due_at > now()
    party.status = 204
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(update(LogoutNotice).values(due_at=now()))

    async def delivered() -> bool:
        await back_channel.deliver(house.running.runtime)
        return [n.state for n in await notices(house)] == ["delivered"]

    await until(delivered)
    tokens = {parse_qs(call.body.decode())["logout_token"][0] for call in ear.calls}
    assert len(tokens) == len(ear.calls) == 2


async def test_in_the_end_operators_see_it(house: House, ear: Listener, party: Party) -> None:
    party.status = 400
    browser, _ = await signed_in(house, "archive")
    await browser.get("/oauth2/logout")
    await browser.submit()

    async def given_up() -> bool:
        async with house.running.runtime.sessions.begin() as session:
            waiting = LogoutNotice.state == "waiting"
            await session.execute(update(LogoutNotice).where(waiting).values(due_at=now()))
        await back_channel.deliver(house.running.runtime)
        return [n.state for n in await notices(house)] == ["given_up"]

    await until(given_up)
    assert len(ear.calls) == len(back_channel.PAUSES) + 1
    operator = bearer(await house.signed_in("o01"))
    state = (await house.http.get("/v1/ops/identity", headers=operator)).json()
    assert state["checks"]["logouts"] == {"ok": False, "waiting": 0, "given_up": 1}
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(update(LogoutNotice).values(due_at=now() - timedelta(days=8)))
        await back_channel.forget(session)
    assert await notices(house) == []


async def test_an_inner_address_is_never_called(house: House, ear: Listener) -> None:
    async with house.running.runtime.sessions.begin() as session:
        inner = "https://10.0.0.1/logout"
        mine = Client.client_id == "library"
        before = await session.scalar(select(Client.backchannel_logout_uri).where(mine))
        await session.execute(update(Client).where(mine).values(backchannel_logout_uri=inner))
    browser, _ = await signed_in(house, "library")
    await browser.get("/oauth2/logout")
    await browser.submit()

    async def refused() -> bool:
        return [n.why for n in await notices(house)] == ["Forbidden"]

    await until(refused)
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(update(Client).where(mine).values(backchannel_logout_uri=before))


async def test_operators_register_where(house: House) -> None:
    operator = bearer(await house.signed_in("o01"))
    body = {
        "name": "档案系统",
        "name_en": "Archive",
        "redirect_uris": ["https://archive.example/callback"],
        "scopes": ["openid"],
        "backchannel_logout_uri": "https://archive.example/logout",
    }
    made = await house.http.post("/v1/clients", json=body, headers={**operator, **key()})
    assert made.json()["backchannel_logout_uri"] == "https://archive.example/logout"
    for odd in ("http://archive.example/", "ftp://x/", "https://a.example/#x", "javascript:x"):
        sent = {**body, "backchannel_logout_uri": odd}
        answer = await house.http.post("/v1/clients", json=sent, headers={**operator, **key()})
        assert answer.status_code == 422, odd


async def test_nobody_is_told_what_is_not_theirs(house: House, ear: Listener) -> None:
    browser, _ = await signed_in(house, "demo-app")
    await browser.get("/oauth2/logout")
    await browser.submit()
    assert await notices(house) == []
    assert ear.calls == []


async def test_discovery_says_so(house: House) -> None:
    document = (await house.http.get("/.well-known/openid-configuration")).json()
    assert document["backchannel_logout_supported"] is True
    assert document["backchannel_logout_session_supported"] is True
