"""The login page: forms, words, lock-out, and what it does not tell."""

import asyncio
import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from identity_svc import seed
from identity_svc.models import Attempts, LoginSession
from identity_svc.tokens import digest
from kit.clock import now
from kit.testing import Ground

from .conftest import PASSWORD, House, Start, called_back


@pytest.fixture(autouse=True)
async def _no_tries_yet(house: House) -> None:
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(delete(Attempts))


class Outline(HTMLParser):
    """Labels, fields, links and everything that would be fetched."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.labels: set[str] = set()
        self.fields: set[str] = set()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag == "label":
            self.labels.add(str(found["for"]))
        if tag == "input" and found.get("type") != "hidden":
            self.fields.add(str(found["id"]))
        if "src" in found or tag in ("link", "script", "img", "iframe"):
            self.fetched.append(str(found))


async def test_the_page_is_plain_and_labelled(house: House) -> None:
    page = await house.browser().get(Start().url)
    outline = Outline(page.text)
    assert outline.fields == outline.labels == {"login", "password"}
    assert len(outline.fetched) == 1
    assert "passkey.js" in outline.fetched[0]
    assert outline.tags.count("h1") == 1
    assert 'lang="zh-CN"' in page.text
    assert "演示应用" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:9;" in policy
    assert page.headers["cache-control"] == "no-store"


async def test_english_by_switch_and_by_preference(house: House) -> None:
    browser = house.browser()
    await browser.get(Start().url)
    link = re.search(r'<a href="(/oauth2/login[^"]+)" hreflang="en"', browser.page.text)
    assert link
    page = await browser.get(link[1].replace("&amp;", "&"))
    assert 'lang="en"' in page.text
    assert "Demo app" in page.text
    page = await browser.submit(login="", password="")
    assert "<title>Error: Sign in" in page.text
    back = called_back(await browser.submit(login="13800000001", password=PASSWORD))
    assert back["code"]


async def test_error_summary(house: House) -> None:
    browser = house.browser()
    await browser.get(Start().url)
    page = await browser.submit(login=" 13800000001 ", password="")
    assert page.status_code == 422
    assert "<title>错误:登录" in page.text
    assert 'role="alert"' in page.text
    assert '<a href="#password">请填写密码。</a>' in page.text
    assert 'aria-describedby="password-why"' in page.text
    assert 'value="13800000001"' in page.text
    for word in ("有误", "非法", "无效"):
        assert word not in page.text


async def test_the_cookie(house: House) -> None:
    browser = house.browser()
    await browser.sign_in(Start())
    first = browser.http.cookies["beam_login"]
    answer = await browser.http.get(Start(changes={"prompt": "login"}).url)
    browser.page = await browser.http.get(answer.headers["location"])
    token = re.search(r'name="csrf" value="(\w+)"', browser.page.text)
    assert token
    answer = await browser.http.post(
        "/oauth2/login",
        data={"csrf": token[1], "login": "r01", "password": PASSWORD, "return_to": Start().url},
    )
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert browser.http.cookies["beam_login"] != first
    async with house.running.runtime.sessions() as session:
        assert first not in str((await session.scalars(select(LoginSession.token_hash))).all())


async def test_over_https_the_cookie_is_secure(
    ground: Ground, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.testing.ISSUER", "https://beam.test")
    async with ground.service("identity_svc", nats=nats_url) as running:
        page = await running.client.get("/oauth2/login")
        cookie = page.headers["set-cookie"]
    assert cookie.startswith("__Host-beam_form=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize("csrf", ["", "0" * 64, "坏"])
async def test_a_form_of_somebody_else_is_refused(house: House, csrf: str) -> None:
    browser = house.browser()
    await browser.get(Start().url)
    page = await browser.submit(login="13800000001", password=PASSWORD, csrf=csrf)
    assert page.status_code == 422
    assert "beam_login" not in browser.http.cookies
    bare = await house.http.post(
        "/oauth2/login", data={"login": "13800000001", "password": PASSWORD}
    )
    assert bare.status_code == 422


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/oauth2/authorize.evil?x=1",
        "/v1/me",
        "/oauth2/authorize?client_id=nobody",
        "/oauth2/authorize\\@evil.example?x",
    ],
)
async def test_the_login_leads_nowhere_else(house: House, target: str) -> None:
    browser = house.browser()
    await browser.get(Start().url)
    page = await browser.submit(login="13800000001", password=PASSWORD, return_to=target)
    assert page.status_code == 400
    assert "location" not in page.headers
    assert "beam_login" not in browser.http.cookies


async def _wrong(house: House, login: str, password: str = "wrong password") -> Any:
    browser = house.browser()
    await browser.get(Start().url)
    return await browser.submit(login=login, password=password)


async def test_an_unknown_name_answers_like_a_wrong_password(house: House) -> None:
    known = await _wrong(house, "13800000001")
    unknown = await _wrong(house, "13900000009")
    staff = await _wrong(house, "r99")

    def shape(page: Any) -> tuple[int, str]:
        text = re.sub(r'(value|nonce|data-challenge)="[^"]*"|href="/[^"]*"', "", page.text)
        return page.status_code, text

    assert shape(known) == shape(unknown) == shape(staff)


@pytest.mark.parametrize("login", ["13800000001", "13900000009"])
async def test_lock_out_is_the_same_for_those_who_exist_and_those_who_do_not(
    house: House, login: str
) -> None:
    for _ in range(10):
        assert (await _wrong(house, login)).status_code == 422
    locked = await _wrong(house, login)
    assert locked.status_code == 429
    assert 0 < int(locked.headers["retry-after"]) <= 900
    assert "15 分钟" in locked.text
    right = await _wrong(house, login, PASSWORD)
    assert right.status_code == 429
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(
            update(Attempts).values(since=Attempts.since - func.make_interval(0, 0, 0, 0, 0, 16))
        )
    if login == "13800000001":
        called_back(await _wrong(house, login, PASSWORD))
        async with house.running.runtime.sessions() as session:
            assert await session.scalar(select(func.max(Attempts.tries))) == 0


async def test_parallel_guesses_all_count(house: House) -> None:
    pages = await asyncio.gather(*(_wrong(house, "13800000001") for _ in range(14)))
    assert sorted(page.status_code for page in pages) == [422] * 10 + [429] * 4


async def test_many_right_ones_at_once_lock_nobody_out(house: House) -> None:
    backs = await asyncio.gather(*(house.browser().sign_in(Start(), "r01") for _ in range(16)))
    assert len({back["code"] for back in backs}) == 16


async def test_an_address_is_throttled_whatever_names_it_tries(house: House) -> None:
    async with house.running.runtime.sessions.begin() as session:
        await _wrong(house, "13900000001")
        await session.execute(update(Attempts).values(tries=50))
    assert (await _wrong(house, "13900000002")).status_code == 429
    elsewhere = house.browser()
    elsewhere.http.headers["x-forwarded-for"] = "1.2.3.4, 203.0.113.9"
    called_back_page = await elsewhere.sign_in(Start())
    assert called_back_page["code"]


async def test_logout(house: House) -> None:
    browser = house.browser()
    start = Start()
    back = await browser.sign_in(start)
    tokens = (await house.exchange(start, back["code"])).json()
    cookie = browser.http.cookies["beam_login"]
    page = await browser.get("/oauth2/logout")
    assert "要退出登录吗" in page.text
    page = await browser.submit()
    assert "您已退出登录" in page.text
    assert "beam_login" not in browser.http.cookies
    browser.http.headers["cookie"] = f"beam_login={cookie}"
    page = await browser.get(Start().url)
    assert page.status_code == 200
    assert 'name="password"' in page.text
    assert (await house.refresh(tokens["refresh_token"])).status_code == 400


async def test_an_old_sign_in_is_over(house: House) -> None:
    browser = house.browser()
    await browser.sign_in(Start())
    mine = LoginSession.token_hash == digest(browser.http.cookies["beam_login"])
    async with house.running.runtime.sessions.begin() as session:
        over = now() - timedelta(seconds=1)
        await session.execute(update(LoginSession).where(mine).values(expires_at=over))
    assert 'name="password"' in (await browser.get(Start().url)).text


async def test_logout_with_a_hint(house: House) -> None:
    browser = house.browser()
    start = Start()
    back = await browser.sign_in(start)
    tokens = (await house.exchange(start, back["code"])).json()
    page = await browser.get(
        f"/oauth2/logout?id_token_hint={tokens['access_token']}&client_id=demo-app"
    )
    assert "要退出登录吗" in page.text
    page = await browser.get(
        f"/oauth2/logout?id_token_hint={tokens['id_token']}&client_id=demo-app"
        "&post_logout_redirect_uri=https://evil.example/"
    )
    assert "location" not in page.headers
    assert "您已退出登录" in page.text


async def test_production_has_clients_but_no_demo_people(
    ground: Ground, nats_url: str, secrets_file: Any
) -> None:
    async with ground.service(
        "identity_svc", nats=nats_url, service_secrets_file=secrets_file
    ) as running:
        settings = running.runtime.settings
        running.runtime.settings = settings.model_copy(update={"environment": "production"})
        await seed.seed(running.runtime)
        running.runtime.settings = settings
        house = House(running)
        assert await house.service("dept-SAMR")
        page = await house.browser().get(Start().url)
        assert page.status_code == 400
        portal = Start(changes={"client_id": "portal", "redirect_uri": "http://beam.test/callback"})
        browser = house.browser()
        await browser.get(portal.url)
        page = await browser.submit(login="13800000001", password=PASSWORD)
        assert page.status_code == 422
