"""Signing in, registering and setting a new password with a code, on pages without script."""

import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from jose import jwt
from sqlalchemy import delete, select, text, update

from identity_svc.models import Attempts, LoginSession, PhoneCode
from kit.clock import now
from kit.secrets import Vault
from kit.testing import key
from sandbox.testing import Sandbox

from .conftest import (
    PASSWORD,
    Browser,
    House,
    Start,
    account_of,
    called_back,
    last_code,
    messages,
)

ZHANG = "13800000001"
NEW = {"name": "王五", "id_number": "11010519491231002X"}


@pytest.fixture
async def house(open_house: House) -> House:
    async with open_house.running.runtime.sessions.begin() as session:
        await session.execute(delete(Attempts))
    return open_house


async def forget_counts(house: House) -> None:
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(delete(Attempts))


async def to_page(house: House, says: str, start: Start | None = None) -> Browser:
    """A browser that followed the link with these words from the login page."""
    browser = house.browser()
    await browser.get((start or Start()).url)
    link = re.search(rf'<a href="([^"]+)">{says}</a>', browser.page.text)
    assert link, browser.page.text
    await browser.get(link[1].replace("&amp;", "&"))
    return browser


async def with_code(
    house: House, outside: Sandbox, phone: str, says: str, start: Start | None = None, **more: str
) -> Browser:
    """The same, where the number's code was sent and given."""
    browser = await to_page(house, says, start)
    await browser.submit(phone=phone, step="send")
    assert "已发送到" in browser.page.text, browser.page.text
    await browser.submit(code=await last_code(outside, phone), **more)
    return browser


BY_CODE, REGISTER, RESET = "用短信验证码登录", "注册", "忘记密码"


async def test_signing_in_with_a_code(house: House, outside: Sandbox) -> None:
    start = Start()
    browser = await with_code(house, outside, ZHANG, BY_CODE, start)
    answer = await house.exchange(start, called_back(browser.page)["code"])
    claims = jwt.get_unverified_claims(answer.json()["id_token"])
    assert (claims["amr"], claims["acr"]) == (["sms"], "L3")
    assert abs(claims["auth_time"] - now().timestamp()) < 60


async def test_an_unknown_number_registers_right_there(house: House, outside: Sandbox) -> None:
    phone, start = "13900000201", Start()
    browser = await with_code(house, outside, phone, BY_CODE, start)
    assert "手机号已验证" in browser.page.text
    page = await browser.submit(name="王", id_number="1")
    assert page.status_code == 422
    assert "现在是 1 位" in page.text
    answer = await house.exchange(start, called_back(await browser.submit(**NEW))["code"])
    claims = jwt.get_unverified_claims(answer.json()["id_token"])
    assert (claims["amr"], claims["acr"]) == (["sms"], "L1")
    account = await account_of(house, phone)
    assert account is not None
    assert (account.level, account.password_hash) == ("L1", None)
    # Without a password no password opens it, the one that nobody has least of all.
    other = house.browser()
    await other.get(Start().url)
    page = await other.submit(login=phone, password="nobody has this password")
    assert page.status_code == 422
    await forget_counts(house)
    called_back((await with_code(house, outside, phone, BY_CODE)).page)


async def test_registering_from_its_link_with_a_password(house: House, outside: Sandbox) -> None:
    phone = "13900000202"
    browser = await with_code(house, outside, phone, REGISTER)
    called_back(await browser.submit(**NEW, password="a long enough secret"))
    assert (await house.browser().sign_in(Start(), phone, "a long enough secret"))["code"]


async def test_registering_without_a_code(house: House) -> None:
    """Nothing is proven, and the page says the same for a number that has an account."""
    pages = []
    for phone in ("13900000203", ZHANG):
        browser = await to_page(house, REGISTER)
        await browser.submit(phone=phone, step="plain")
        page = await browser.submit(**NEW, phone=phone, password="a long enough secret")
        assert page.status_code == 200
        pages.append(re.sub(r'nonce="[^"]*"|href="/[^"]*"', "", page.text))
    assert pages[0] == pages[1]
    account = await account_of(house, "13900000203")
    assert account is not None
    assert account.level == "L0"


async def test_who_proves_a_number_does_not_get_the_account_that_claims_it(
    house: House, outside: Sandbox
) -> None:
    phone = "13900000204"
    body = {**NEW, "phone": phone, "password": "the squatter knows it"}
    assert (await house.http.post("/v1/accounts", json=body, headers=key())).status_code == 201
    squatter = await account_of(house, phone)
    browser = await with_code(house, outside, phone, BY_CODE)
    called_back(await browser.submit(**NEW))
    account = await account_of(house, phone)
    assert account is not None
    assert squatter is not None
    assert account.id != squatter.id
    guess = house.browser()
    await guess.get(Start().url)
    page = await guess.submit(login=phone, password="the squatter knows it")
    assert page.status_code == 422


def shape(page: httpx.Response, phone: str) -> tuple[int, str]:
    text = page.text.replace(phone, "")
    return page.status_code, re.sub(r'(value|nonce)="[^"]*"|href="/[^"]*"', "", text)


@pytest.mark.parametrize("says", [BY_CODE, RESET])
async def test_nothing_tells_who_exists(house: House, outside: Sandbox, says: str) -> None:
    shapes = []
    for phone in ("13800000002", "13900000205"):
        await forget_counts(house)
        browser = await to_page(house, says)
        sent = await browser.submit(phone=phone, step="send")
        wrong = await browser.submit(code="000000x", password="a long enough secret")
        shapes.append((shape(sent, phone), shape(wrong, phone)))
        again = await browser.submit(phone=phone, step="send")
        assert again.status_code == 429
    assert shapes[0] == shapes[1]


async def test_tries_are_counted_before_looking(house: House, outside: Sandbox) -> None:
    for phone in (ZHANG, "13900000206"):
        await forget_counts(house)
        browser = await to_page(house, BY_CODE)
        await browser.submit(phone=phone, step="send")
        statuses = [(await browser.submit(code="1")).status_code for _ in range(11)]
        assert statuses == [422] * 10 + [429]
        page = await browser.submit(code=await last_code(outside, phone))
        assert page.status_code == 429
        assert "retry-after" in page.headers
    # Five tries for a code, whoever counts: the right one comes too late.
    await forget_counts(house)
    page = await browser.submit(code=await last_code(outside, "13900000206"))
    assert page.status_code == 422


async def test_a_code_is_good_once_and_for_five_minutes(house: House, outside: Sandbox) -> None:
    browser = await to_page(house, BY_CODE)
    await browser.submit(phone=ZHANG, step="send")
    page, code = browser.page, await last_code(outside, ZHANG)
    called_back(await browser.submit(code=code))
    browser.page = page
    assert (await browser.submit(code=code)).status_code == 422
    await forget_counts(house)
    browser = await to_page(house, BY_CODE)
    await browser.submit(phone=ZHANG, step="send")
    async with house.running.runtime.sessions.begin() as session:
        over = now() - timedelta(seconds=1)
        await session.execute(update(PhoneCode).values(expires_at=over))
    page = await browser.submit(code=await last_code(outside, ZHANG))
    assert page.status_code == 422


async def test_a_code_is_for_one_purpose(house: House, outside: Sandbox) -> None:
    """Who is led to give a code for registering gives nobody a way to sign in."""
    sent = (await house.http.post("/v1/phone-codes", json={"phone": ZHANG})).json()
    browser = await to_page(house, BY_CODE)
    await forget_counts(house)
    await browser.submit(phone=ZHANG, step="send")
    first = (await messages(outside, ZHANG))[-2]
    assert (await browser.submit(code=first, code_id=sent["id"])).status_code == 422


async def test_the_proof_of_a_number_is_of_use_to_one_browser(
    house: House, outside: Sandbox
) -> None:
    phone = "13900000207"
    browser = await with_code(house, outside, phone, BY_CODE)
    proof = re.search(r'name="proof" value="([^"]+)"', browser.page.text)
    assert proof
    thief = await to_page(house, REGISTER)
    await thief.submit(phone="13900000208", step="plain")
    page = await thief.submit(**NEW, proof=proof[1])
    assert page.status_code == 422
    assert await account_of(house, phone) is None
    for bad in ("x", "!", proof[1][:-4], Vault(Vault.new_document()).index("x")):
        assert (await thief.submit(**NEW, step="details", proof=bad)).status_code == 422


async def test_a_forgotten_password(house: House, outside: Sandbox) -> None:
    """The new one holds, the old one and everything that was signed in is over."""
    phone, old, new = "13900000209", "the first long secret", "the second long secret"
    browser = await with_code(house, outside, phone, REGISTER)
    called_back(await browser.submit(**NEW, password=old))
    start = Start()
    back = await browser.get(start.url)
    tokens = (await house.exchange(start, called_back(back)["code"])).json()
    await forget_counts(house)
    other = await to_page(house, RESET)
    await other.submit(phone=phone, step="send")
    weak = await other.submit(code=await last_code(outside, phone), password="short")
    assert weak.status_code == 422
    done = await other.submit(code=await last_code(outside, phone), password=new)
    assert "新密码已设置" in done.text
    assert 'name="login"' in (await browser.get(Start().url)).text
    assert (await house.refresh(tokens["refresh_token"])).status_code == 400
    page = house.browser()
    await page.get(Start().url)
    assert (await page.submit(login=phone, password=old)).status_code == 422
    called_back(await page.submit(login=phone, password=new))
    account = await account_of(house, phone)
    assert account is not None
    async with house.running.runtime.sessions() as session:
        told = await session.scalar(
            text(
                "select body from outbox where subject like '%session_revoked%'"
                " order by seq desc limit 1"
            )
        )
        ended = await session.scalars(
            select(LoginSession.ended_at).where(LoginSession.account_id == account.id)
        )
        assert [at is None for at in ended].count(True) == 1
    assert account.id in told


async def test_a_reset_for_a_number_of_nobody(house: House, outside: Sandbox) -> None:
    phone = "13900000210"
    browser = await with_code(house, outside, phone, RESET, password="a long enough secret")
    assert "还没有账户核验过此手机号" in browser.page.text


@pytest.mark.parametrize("path", ["login/code", "register", "reset"])
@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_the_pages_are_plain_and_labelled(house: House, path: str, lang: str) -> None:
    from .test_login import Outline

    browser = house.browser()
    page = await browser.get(f"/oauth2/{path}?lang={lang}")
    outline = Outline(page.text)
    assert outline.fields == outline.labels == {"phone"}
    assert outline.fetched == []
    assert outline.tags.count("h1") == 1
    assert "default-src 'none'" in page.headers["content-security-policy"]
    page = await browser.submit(phone="12", step="send")
    assert page.status_code == 422
    assert 'value="12"' in page.text
    assert "<title>Error: " in page.text or "<title>错误:" in page.text
    assert 'aria-describedby="phone-why"' in page.text
    page = await browser.submit(phone=ZHANG, step="send", csrf="0" * 64)
    assert page.status_code == 422
    away = await browser.submit(phone=ZHANG, step="send", return_to="https://evil.example/")
    assert away.status_code == 400


async def test_a_password_or_a_code_is_needed(house: House, outside: Sandbox) -> None:
    phone = "13900000211"
    body: dict[str, Any] = {**NEW, "phone": phone}
    answer = await house.http.post("/v1/accounts", json=body, headers=key())
    assert answer.status_code == 422
    sent = (await house.http.post("/v1/phone-codes", json={"phone": phone})).json()
    body["phone_code"] = {"id": sent["id"], "code": await last_code(outside, phone)}
    answer = await house.http.post("/v1/accounts", json=body, headers=key())
    assert answer.status_code == 201
    assert (await house.browser().sign_in(Start(), ZHANG, PASSWORD))["code"]
