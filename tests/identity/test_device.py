"""A counter terminal signs somebody in (RFC 8628): the code, the page, the questions in between."""

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import delete, update

from identity_svc import devices
from identity_svc.devices import DEVICE
from identity_svc.models import Attempts, DeviceRequest
from kit.clock import now

from .conftest import PASSWORD, SECRETS, Browser, House, bearer
from .holders import Holder

TERMINAL = "counter-terminal"


@pytest.fixture(autouse=True)
async def _no_counts(house: House) -> None:
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(delete(Attempts))


async def begin(house: House, **changes: str) -> dict[str, Any]:
    sent = {"client_id": TERMINAL, "scope": "openid profile", **changes}
    answer = await house.http.post("/oauth2/device_authorization", data=sent)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return found


async def ask(
    house: House, code: str, client: str = TERMINAL, proof: str | None = None
) -> httpx.Response:
    fields = {"grant_type": DEVICE, "client_id": client, "device_code": code}
    headers = {"dpop": proof} if proof else {}
    return await house.http.post("/oauth2/token", data=fields, headers=headers)


async def no_wait(house: House) -> None:
    """As if the terminal had waited since its last question."""
    async with house.running.runtime.sessions.begin() as session:
        past = now() - timedelta(seconds=60)
        await session.execute(update(DeviceRequest).values(asked_at=past))


async def person(house: House, url: str, login: str = "13800000001") -> Browser:
    """Somebody who opened the page and signed in on the way."""
    place = urlsplit(url)
    browser = house.browser()
    await browser.get(f"{place.path}?{place.query}" if place.query else place.path)
    await browser.submit(login=login, password=PASSWORD)
    assert 'action="/oauth2/device"' in browser.page.text, browser.page.text
    return browser


async def error(house: House, code: str, **more: Any) -> str:
    answer = await ask(house, code, **more)
    assert answer.status_code in (400, 401), answer.text
    return str(answer.json()["error"])


async def test_the_whole_way(house: House) -> None:
    told = await begin(house)
    assert told["verification_uri"] == "http://beam.test/oauth2/device"
    assert (told["interval"], told["expires_in"]) == (5, 600)
    plain = told["user_code"].replace("-", "")
    assert len(plain) == 8
    assert set(plain) <= set(devices.LETTERS)
    assert await error(house, told["device_code"]) == "authorization_pending"
    browser = await person(house, told["verification_uri_complete"])
    assert told["user_code"] in browser.page.text
    await browser.submit(user_code=told["user_code"])
    assert "自助终端" in browser.page.text
    assert "您的姓名" in browser.page.text
    await browser.submit(decision="agree")
    assert browser.page.status_code == 200
    await no_wait(house)
    answer = await ask(house, told["device_code"])
    assert answer.status_code == 200, answer.text
    tokens = answer.json()
    assert tokens["id_token"]
    me = await house.http.get("/v1/me", headers=bearer(tokens))
    assert me.json()["id"] == "acc_zhangsan"
    assert (await house.refresh(tokens["refresh_token"], client_id=TERMINAL)).status_code == 200
    # The person signs out at home: the terminal's sign-in is its own.
    await browser.get("/oauth2/logout")
    await browser.submit()
    who = await house.http.get("/oauth2/userinfo", headers=bearer(tokens))
    assert who.status_code == 200
    # A copy of the device code ends what came of it.
    assert await error(house, told["device_code"]) == "invalid_grant"
    who = await house.http.get("/oauth2/userinfo", headers=bearer(tokens))
    assert who.status_code == 401


async def test_refusing(house: House) -> None:
    told = await begin(house)
    browser = await person(house, told["verification_uri"])
    await browser.submit(user_code=told["user_code"])
    await browser.submit(decision="deny")
    assert await error(house, told["device_code"]) == "access_denied"
    assert await error(house, told["device_code"]) == "access_denied"


async def test_typed_as_people_type(house: House) -> None:
    told = await begin(house)
    browser = await person(house, told["verification_uri"])
    plain = told["user_code"].replace("-", "")
    full_width = "".join(chr(ord(letter) + 0xFEE0) for letter in plain)
    for typed in (
        plain.lower(),
        f" {plain[:2]} {plain[2:]} ",
        full_width,
        f"{plain[:4]}—{plain[4:]}",
    ):
        await browser.get("/oauth2/device")
        await browser.submit(user_code=typed)
        assert told["user_code"] in browser.page.text, typed
        assert 'value="agree"' in browser.page.text


async def test_asking_too_often(house: House) -> None:
    told = await begin(house)
    assert await error(house, told["device_code"]) == "authorization_pending"
    assert await error(house, told["device_code"]) == "slow_down"
    async with house.running.runtime.sessions.begin() as session:
        row = await session.get(DeviceRequest, devices.tokens.digest(told["device_code"]))
        assert row is not None
        assert row.interval == 10
        row.asked_at = now() - timedelta(seconds=7)
    assert await error(house, told["device_code"]) == "slow_down"
    await no_wait(house)
    assert await error(house, told["device_code"]) == "authorization_pending"


async def test_too_old(house: House) -> None:
    told = await begin(house)
    browser = await person(house, told["verification_uri"])
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(update(DeviceRequest).values(expires_at=now()))
    assert await error(house, told["device_code"]) == "expired_token"
    answer = await browser.submit(user_code=told["user_code"])
    assert answer.status_code == 422


async def test_a_device_code_is_of_its_client(house: House) -> None:
    told = await begin(house)
    assert await error(house, told["device_code"], client="demo-app") == "unauthorized_client"
    assert await error(house, told["device_code"], client="nobody") == "invalid_client"
    assert await error(house, "guess") == "invalid_grant"
    assert await error(house, "") == "invalid_request"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"client_id": "demo-app"}, "unauthorized_client"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_id": ""}, "invalid_client"),
        ({"scope": "internal"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": "openid everything"}, "invalid_scope"),
        ({"client_secret": "x"}, "invalid_client"),
    ],
)
async def test_who_may_not_begin(house: House, fields: dict[str, str], wanted: str) -> None:
    sent = {"client_id": TERMINAL, "scope": "openid", **fields}
    answer = await house.http.post(
        "/oauth2/device_authorization", data={k: v for k, v in sent.items() if v}
    )
    assert answer.json()["error"] == wanted, answer.text


async def test_a_repeated_parameter(house: House) -> None:
    answer = await house.http.post(
        "/oauth2/device_authorization",
        content=f"client_id={TERMINAL}&scope=openid&scope=profile",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_guessing_ends_soon(house: House) -> None:
    told = await begin(house)
    browser = await person(house, told["verification_uri"], "13800000002")
    seen = []
    for n in range(12):
        answer = await browser.submit(user_code=f"BBBB-BB{devices.LETTERS[n]}B")
        seen.append(answer.status_code)
    assert seen[:10] == [422] * 10
    assert seen[10:] == [429, 429]
    # The right code comes too late now, and the page says the same.
    answer = await browser.submit(user_code=told["user_code"])
    assert answer.status_code == 429
    assert await error(house, told["device_code"]) == "authorization_pending"


async def test_many_requests_from_one_address(house: House) -> None:
    async def once() -> int:
        sent = {"client_id": TERMINAL, "scope": "openid"}
        answer = await house.http.post("/oauth2/device_authorization", data=sent)
        return answer.status_code

    seen = [code for _ in range(8) for code in await asyncio.gather(*(once() for _ in range(8)))]
    assert (seen.count(200), seen.count(429)) == (60, 4)


async def test_the_page_takes_its_own_form_only(house: House) -> None:
    told = await begin(house)
    browser = await person(house, told["verification_uri"])
    sent = {"user_code": told["user_code"], "decision": "agree"}
    assert (await browser.http.post("/oauth2/device", data=sent)).status_code == 400
    forged = {**sent, "csrf": "x"}
    assert (await browser.http.post("/oauth2/device", data=forged)).status_code == 400
    assert await error(house, told["device_code"]) == "authorization_pending"
    assert "script" not in browser.page.text
    assert "default-src 'none'" in browser.page.headers["content-security-policy"]
    english = await browser.get("/oauth2/device?lang=en")
    assert "The code that the terminal shows" in english.text


async def test_nobody_signs_in_for_elsewhere(house: House) -> None:
    """The login page goes on to the device page and to nothing that only looks like it."""
    browser = house.browser()
    for odd in ("/oauth2/device/../evil", "//evil.example/oauth2/device", "/oauth2/devices"):
        answer = await browser.http.get("/oauth2/login", params={"return_to": odd})
        assert answer.status_code == 400, odd
    consent = await browser.http.get("/oauth2/consent", params={"return_to": "/oauth2/device"})
    assert consent.status_code == 400


async def test_the_terminals_key_binds_its_tokens(house: House) -> None:
    told, holder = await begin(house), Holder()
    browser = await person(house, told["verification_uri"])
    await browser.submit(user_code=told["user_code"])
    await browser.submit(decision="agree")
    answer = await ask(house, told["device_code"], proof=holder.proof("POST", "/oauth2/token"))
    assert answer.json()["token_type"] == "DPoP", answer.text
    stolen = await house.refresh(answer.json()["refresh_token"], client_id=TERMINAL)
    assert stolen.status_code == 400


async def test_two_at_once_get_one_answer(house: House) -> None:
    told = await begin(house)
    browser = await person(house, told["verification_uri"])
    await browser.submit(user_code=told["user_code"])
    await browser.submit(decision="agree")
    answers = await asyncio.gather(*(ask(house, told["device_code"]) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]


async def test_discovery_names_it(house: House) -> None:
    document = (await house.http.get("/.well-known/openid-configuration")).json()
    assert document["device_authorization_endpoint"].endswith("/oauth2/device_authorization")
    assert DEVICE in document["grant_types_supported"]
    answer = await house.token(
        ("svc-case", SECRETS["svc-case"]), grant_type=DEVICE, device_code="x"
    )
    assert answer.json()["error"] == "unauthorized_client"
