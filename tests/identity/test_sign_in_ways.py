"""The ways into one's account: listed, changed after a fresh sign-in, never all lost."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select, text, update

from identity_svc.channels import aliyun
from identity_svc.models import Account, Attempts, LoginSession, RefreshFamily
from identity_svc.sign_in import new_phone
from kit.clock import now
from kit.testing import key
from sandbox.testing import Sandbox

from .conftest import Browser, House, Start, account_of, bearer, called_back, last_code, messages

NAMES = {"name": "王五", "id_number": "11010519491231002X"}
OLD, NEW = "the first long secret", "the second long secret"


@pytest.fixture
async def house(open_house: House) -> House:
    async with open_house.running.runtime.sessions.begin() as session:
        await session.execute(delete(Attempts))
    return open_house


async def code_for(
    house: House, outside: Sandbox, phone: str, purpose: str = "register"
) -> dict[str, str]:
    body = {"phone": phone, "purpose": purpose}
    sent = await house.http.post("/v1/phone-codes", json=body, headers=key())
    assert sent.status_code == 201, sent.text
    return {"id": sent.json()["id"], "code": await last_code(outside, phone)}


async def person(house: House, outside: Sandbox, phone: str, password: str | None = OLD) -> str:
    """A person whose number is proven; the account's id."""
    proof = await code_for(house, outside, phone)
    body = {**NAMES, "phone": phone, "phone_code": proof, "password": password}
    answer = await house.http.post("/v1/accounts", json=body, headers=key())
    assert answer.status_code == 201, answer.text
    account = await account_of(house, phone)
    assert account is not None
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(delete(Attempts))
    return account.id


async def entered(house: House, phone: str, password: str = OLD) -> tuple[Browser, dict[str, Any]]:
    browser, start = house.browser(), Start()
    back = await browser.sign_in(start, phone, password)
    return browser, (await house.exchange(start, back["code"])).json()


async def ways(house: House, tokens: dict[str, Any]) -> dict[str, Any]:
    answer = await house.http.get("/v1/me/sign-in-ways", headers=bearer(tokens))
    assert answer.status_code == 200, answer.text
    return {item["way"]: item for item in answer.json()["items"]}


async def stale(house: House, account_id: str) -> None:
    """Their sign-ins are eleven minutes old."""
    async with house.running.runtime.sessions.begin() as session:
        mine = LoginSession.account_id == account_id
        long_ago = now() - timedelta(minutes=11)
        await session.execute(update(LoginSession).where(mine).values(auth_time=long_ago))


async def put(house: House, path: str, tokens: dict[str, Any], body: Any) -> httpx.Response:
    return await house.http.put(path, json=body, headers=bearer(tokens))


async def test_listing(house: House, outside: Sandbox) -> None:
    await person(house, outside, "13900000301")
    _, tokens = await entered(house, "13900000301")
    found = await ways(house, tokens)
    assert found.keys() == {"password", "phone_code"}
    assert found["phone_code"]["hint"] == "139****0301"
    staff = await house.signed_in("r01")
    assert (await ways(house, staff)).keys() == {"password"}


async def test_a_claimed_number_is_no_way(house: House) -> None:
    body = {**NAMES, "phone": "13900000302", "password": OLD}
    assert (await house.http.post("/v1/accounts", json=body, headers=key())).status_code == 201
    _, tokens = await entered(house, "13900000302")
    assert (await ways(house, tokens)).keys() == {"password"}


async def test_changing_the_password(house: House, outside: Sandbox) -> None:
    phone = "13900000303"
    await person(house, outside, phone)
    browser, tokens = await entered(house, phone)
    other, others = await entered(house, phone)
    wrong = await put(house, "/v1/me/password", tokens, {"current": NEW, "new": NEW})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "wrong_password")
    missing = await put(house, "/v1/me/password", tokens, {"new": NEW})
    assert missing.json()["code"] == "wrong_password"
    weak = await put(house, "/v1/me/password", tokens, {"current": OLD, "new": "short"})
    assert weak.json()["code"] == "invalid"
    done = await put(house, "/v1/me/password", tokens, {"current": OLD, "new": NEW})
    assert done.status_code == 204, done.text
    # The sign-in that changed it goes on, every other one is over.
    called_back(await browser.get(Start().url))
    assert (await house.refresh(tokens["refresh_token"])).status_code == 200
    assert 'name="login"' in (await other.get(Start().url)).text
    assert (await house.refresh(others["refresh_token"])).status_code == 400
    await entered(house, phone, NEW)


async def test_a_new_password_ends_what_one_does_for_others(house: House, outside: Sandbox) -> None:
    phone = "13900000316"
    account_id = await person(house, outside, phone)
    await entered(house, phone)
    _, tokens = await entered(house, phone)
    async with house.running.runtime.sessions.begin() as session:
        mine = RefreshFamily.account_id == account_id
        first = (await session.scalars(select(RefreshFamily).where(mine))).first()
        assert first is not None
        acting = RefreshFamily(
            id="fam_acting",
            account_id="acc_lisi",
            actor_id=account_id,
            client_id="demo-app",
            session_id=first.session_id,
            scope="openid",
            state="active",
            expires_at=first.expires_at,
        )
        session.add(acting)
    done = await put(house, "/v1/me/password", tokens, {"current": OLD, "new": NEW})
    assert done.status_code == 204
    async with house.running.runtime.sessions() as session:
        assert (await session.get_one(RefreshFamily, "fam_acting")).state == "revoked"
        body = await session.scalar(text("select string_agg(body, ' ') from outbox"))
    assert '"fam_acting"' in body


async def test_guesses_of_the_password_are_counted(house: House, outside: Sandbox) -> None:
    await person(house, outside, "13900000304")
    _, tokens = await entered(house, "13900000304")
    body = {"current": NEW, "new": NEW}
    answers = [(await put(house, "/v1/me/password", tokens, body)).status_code for _ in range(11)]
    assert answers == [422] * 10 + [429]


async def test_a_first_password(house: House, outside: Sandbox) -> None:
    phone = "13900000305"
    await person(house, outside, phone, None)
    browser, start = house.browser(), Start()
    await browser.get("/oauth2/login/code")
    await browser.get(start.url)
    await browser.get("/oauth2/login/code?return_to=" + start.url.replace("&", "%26"))
    await browser.submit(phone=phone, step="send")
    back = called_back(await browser.submit(code=await last_code(outside, phone)))
    tokens = (await house.exchange(start, back["code"])).json()
    assert (await ways(house, tokens)).keys() == {"phone_code"}
    done = await put(house, "/v1/me/password", tokens, {"new": NEW})
    assert done.status_code == 204, done.text
    await entered(house, phone, NEW)


async def test_only_after_a_fresh_sign_in(house: House, outside: Sandbox) -> None:
    account_id = await person(house, outside, "13900000306")
    _, tokens = await entered(house, "13900000306")
    await stale(house, account_id)
    for path, body in (
        ("/v1/me/password", {"current": OLD, "new": NEW}),
        ("/v1/me/phone", {"phone": "13900000307", "phone_code": {"id": "otp_x", "code": "1"}}),
        ("/v1/me/sign-in-ways/wechat", {"code": "x"}),
    ):
        answer = await put(house, path, tokens, body)
        assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_again"), path
        assert "max_age=600" in answer.headers["www-authenticate"]
    gone = await house.http.delete("/v1/me/sign-in-ways/wechat", headers=bearer(tokens))
    assert gone.json()["code"] == "sign_in_again"
    # Signing in again in the same browser is enough; a revoked family is not.
    _, tokens = await entered(house, "13900000306")
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(
            update(RefreshFamily)
            .where(RefreshFamily.account_id == account_id)
            .values(state="revoked")
        )
    answer = await put(house, "/v1/me/password", tokens, {"current": OLD, "new": NEW})
    assert answer.json()["code"] == "sign_in_again"


async def test_changing_the_number(house: House, outside: Sandbox) -> None:
    old, new = "13900000308", "13900000309"
    account_id = await person(house, outside, old)
    _, tokens = await entered(house, old)
    proof = await code_for(house, outside, new, "change_phone")
    for_registering = await code_for(house, outside, "13900000310")
    wrong = {"phone": "13900000310", "phone_code": for_registering}
    assert (await put(house, "/v1/me/phone", tokens, wrong)).json()["code"] == "wrong_code"
    done = await put(house, "/v1/me/phone", tokens, {"phone": new, "phone_code": proof})
    assert done.status_code == 204, done.text
    assert await account_of(house, old) is None
    account = await account_of(house, new)
    assert account is not None
    assert (account.id, account.former_phone) == (account_id, None)
    assert (await messages(outside, old))[-1] == ""
    assert len(await messages(outside, new)) == 1
    assert (await ways(house, tokens))["phone_code"]["hint"] == "139****0309"
    await entered(house, new)


async def test_a_number_that_another_account_has_proven(house: House, outside: Sandbox) -> None:
    await person(house, outside, "13900000311")
    await person(house, outside, "13900000312")
    _, tokens = await entered(house, "13900000311")
    proof = await code_for(house, outside, "13900000312", "change_phone")
    body = {"phone": "13900000312", "phone_code": proof}
    answer = await put(house, "/v1/me/phone", tokens, body)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_proving_the_number_that_one_only_claimed(house: House, outside: Sandbox) -> None:
    phone = "13900000313"
    body = {**NAMES, "phone": phone, "password": OLD}
    await house.http.post("/v1/accounts", json=body, headers=key())
    _, tokens = await entered(house, phone)
    proof = await code_for(house, outside, phone, "change_phone")
    done = await put(house, "/v1/me/phone", tokens, {"phone": phone, "phone_code": proof})
    assert done.status_code == 204, done.text
    account = await account_of(house, phone)
    assert account is not None
    assert (account.level, account.former_phone) == ("L1", None)
    assert "" not in await messages(outside, phone)


async def test_the_old_number_is_told_later(house: House, outside: Sandbox) -> None:
    """The message fails: the job tells it, and gives up after a day."""
    runtime = house.running.runtime
    old, new = "13900000314", "13900000315"
    account_id = await person(house, outside, old)
    _, tokens = await entered(house, old)
    proof = await code_for(house, outside, new, "change_phone")
    await outside.sim("sms/faults", kind="429", times=1)
    done = await put(house, "/v1/me/phone", tokens, {"phone": new, "phone_code": proof})
    assert done.status_code == 204
    assert "" not in await messages(outside, old)
    channel = runtime.parts["outside"].messages
    right = aliyun.Account.load(outside.keys / "sms")
    mute = aliyun.Aliyun(
        outside.url,
        aliyun.Account(
            right.access_key_id, right.access_key_secret, right.sign_name, right.template_code
        ),
    )
    await new_phone.tell_former(runtime.sessions, runtime.vault, mute)
    await mute.close()
    await new_phone.tell_former(runtime.sessions, runtime.vault, channel)
    assert (await messages(outside, old))[-1] == ""
    count = len(await messages(outside, old))
    await new_phone.tell_former(runtime.sessions, runtime.vault, channel)
    assert len(await messages(outside, old)) == count
    async with runtime.sessions() as session:
        assert (
            await session.scalar(select(Account.former_phone).where(Account.id == account_id))
            is None
        )
