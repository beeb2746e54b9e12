"""Signing in by an OpenID provider above us, a process of its own in the sandbox, and everything
that may be wrong with what it says."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from identity_svc import seed
from identity_svc.models import Account
from identity_svc.models_upstream import UpstreamLink, UpstreamSignIn
from identity_svc.providers import upstream as provider
from kit.clock import now
from kit.testing import Ground, key
from sandbox.testing import Sandbox, sandbox

from .conftest import Browser, House, Start, bearer, called_back

BACK = "http://beam.test/oauth2/upstream/callback"


@pytest.fixture(scope="module")
async def above(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with sandbox(tmp_path_factory.mktemp("above"), oidc_redirect_uri=BACK) as running:
        yield running


@pytest.fixture(scope="module")
async def house(
    ground: Ground, nats_url: str, secrets_file: Path, above: Sandbox
) -> AsyncIterator[House]:
    async with ground.service(
        "identity_svc",
        nats=nats_url,
        service_secrets_file=secrets_file,
        upstream_oidc_issuer=f"{above.url}/oidc",
        upstream_oidc_keys=above.keys / "oidc",
        upstream_oidc_levels={"LOA2": "L2", "LOA3": "L3"},
    ) as running:
        await seed.seed(running.runtime)
        yield House(running)


@pytest.fixture(autouse=True)
async def _right(above: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "PAUSE_SECONDS", 0)
    async with httpx.AsyncClient(base_url=above.url, trust_env=False) as client:
        await client.delete("/_sim/oidc/faults")
        await client.post("/_sim/oidc/algorithm", params={"alg": "ES256"})
    await above.sim("oidc/citizen")


async def leave(house: House, start: Start) -> tuple[Browser, str]:
    """A browser that presses the button on the login page; where that leads."""
    browser = house.browser()
    page = await browser.get(start.url)
    assert "国家政务服务平台" in page.text
    link = page.text.partition('href="/oauth2/upstream?')[2].partition('"')[0]
    answer = await browser.http.get(f"/oauth2/upstream?{link.replace('&amp;', '&')}")
    return browser, answer.headers.get("location", "")


async def agree(place: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(place)
    location = str(answer.headers["location"])
    assert location.startswith(BACK), location
    return location.removeprefix("http://beam.test")


async def through(house: House, start: Start) -> tuple[Browser, httpx.Response]:
    browser, place = await leave(house, start)
    return browser, await browser.get(await agree(place))


async def links(house: House) -> int:
    async with house.running.runtime.sessions() as session:
        return int(await session.scalar(select(func.count()).select_from(UpstreamLink)) or 0)


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
async def test_the_whole_way(house: House, above: Sandbox, alg: str) -> None:
    async with httpx.AsyncClient(base_url=above.url, trust_env=False) as client:
        await client.post("/_sim/oidc/algorithm", params={"alg": alg})
    start = Start()
    _, answer = await through(house, start)
    back = called_back(answer)
    tokens = (await house.exchange(start, back["code"])).json()
    me = (await house.http.get("/v1/me", headers=bearer(tokens))).json()
    assert (me["id"], me["level"]) == ("acc_zhangsan", "L3")


async def test_somebody_new_gets_an_account_once(house: House, above: Sandbox) -> None:
    wang = {
        "sub": "upstream-wang",
        "name": "王五",
        "id_number": "11010519491231002X",
        "acr": "LOA2",
    }
    await above.sim("oidc/citizen", **wang)
    found = []
    for _ in range(2):
        start = Start()
        _, answer = await through(house, start)
        tokens = (await house.exchange(start, called_back(answer)["code"])).json()
        found.append((await house.http.get("/v1/me", headers=bearer(tokens))).json())
    assert found[0]["id"] == found[1]["id"]
    assert (found[0]["level"], found[0]["name"]) == ("L2", "王*")
    async with house.running.runtime.sessions() as session:
        index = await session.scalar(
            select(UpstreamLink.subject_index).where(UpstreamLink.account_id == found[0]["id"])
        )
    assert index is not None
    assert "wang" not in index


async def test_an_unproven_claim_is_left_alone(house: House, above: Sandbox) -> None:
    """Somebody registered with 赵六's number and proved nothing: that account is not entered."""
    body = {
        "name": "赵六",
        "id_number": "440524188001010014",
        "phone": "13900000077",
        "password": "Zhao-six-1880",
    }
    assert (await house.http.post("/v1/accounts", json=body, headers=key())).status_code == 201
    await above.sim(
        "oidc/citizen", sub="upstream-zhao", name="赵六", id_number="440524188001010014"
    )
    start = Start()
    _, answer = await through(house, start)
    tokens = (await house.exchange(start, called_back(answer)["code"])).json()
    me = (await house.http.get("/v1/me", headers=bearer(tokens))).json()
    assert (me["level"], me["phone"]) == ("L3", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"id_number": None},
        {"acr": "LOA1"},
        {"acr": "unheard-of"},
        {"id_number": "310115199003077412"},
        {"name": "李鬼"},
        {"name": ""},
    ],
)
async def test_too_little_links_nothing(
    house: House, above: Sandbox, changes: dict[str, Any]
) -> None:
    before = await links(house)
    await above.sim("oidc/citizen", **{"sub": f"odd-{sorted(changes)}", **changes})
    _, answer = await through(house, Start())
    assert answer.status_code == 422, answer.text
    assert "用其他方式登录" in answer.text
    assert await links(house) == before


WRONG = [
    "issuer",
    "audience",
    "azp",
    "no_azp",
    "nonce",
    "expired",
    "future",
    "subject",
    "signature",
    "unknown_key",
    "none",
    "hs256",
    "es256_as_rs256",
    "key_in_header",
    "no_id_token",
    "iss_parameter",
    "state",
    "deny",
]


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_not_believed(house: House, above: Sandbox, wrong: str) -> None:
    await above.sim("oidc/wrong", wrong=wrong)
    browser, answer = await through(house, Start())
    assert answer.status_code == 400, answer.text
    assert "location" not in answer.headers
    assert browser.http.cookies.get("beam_login") is None
    assert "用其他方式登录" in answer.text
    # Nothing is left of it: the next one is fine.
    _, again = await through(house, Start())
    assert "code" in called_back(again)


async def test_a_callback_is_for_its_browser_and_once(house: House, above: Sandbox) -> None:
    browser, place = await leave(house, Start())
    back = await agree(place)
    stranger = house.browser()
    await stranger.get(Start().url)
    assert (await stranger.get(back)).status_code == 400
    assert "code" in called_back(await browser.get(back))
    assert (await browser.get(back)).status_code == 400
    browser, place = await leave(house, Start())
    back = await agree(place)
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(update(UpstreamSignIn).values(expires_at=now()))
    assert (await browser.get(back)).status_code == 400
    for odd in ("", "?state=x", "?code=x", "?state=x&code=y", "?error=access_denied"):
        assert (await browser.get(f"/oauth2/upstream/callback{odd}")).status_code == 400


async def test_a_suspended_account_stays_out(house: House) -> None:
    async def set_state(state: str) -> None:
        async with house.running.runtime.sessions.begin() as session:
            mine = Account.id == "acc_zhangsan"
            await session.execute(update(Account).where(mine).values(state=state))

    await through(house, Start())
    await set_state("suspended")
    _, answer = await through(house, Start())
    await set_state("active")
    assert answer.status_code == 422


async def test_while_it_is_away_there_are_other_ways(house: House, above: Sandbox) -> None:
    browser, place = await leave(house, Start())
    back = await agree(place)
    await above.sim("oidc/faults", call="token", kind="500", times=5)
    answer = await browser.get(back)
    assert answer.status_code == 503
    assert "用其他方式登录" in answer.text
    await browser.sign_in(Start())


async def test_from_the_start_away(ground: Ground, nats_url: str, above: Sandbox) -> None:
    async with ground.service(
        "identity_svc",
        nats=nats_url,
        upstream_oidc_issuer="http://127.0.0.1:9/oidc",
        upstream_oidc_keys=above.keys / "oidc",
    ) as running:
        await seed.seed(running.runtime)
        alone = House(running)
        answer = await alone.http.get("/oauth2/upstream")
        assert answer.status_code == 503
        assert "暂时无法使用" in answer.text
        english = await alone.http.get("/oauth2/upstream?lang=en")
        assert "does not work at the moment" in english.text
        assert await alone.signed_in()
    async with ground.service("identity_svc", nats=nats_url) as running:
        await seed.seed(running.runtime)
        none = House(running)
        assert (await none.http.get("/oauth2/upstream")).status_code == 404
        page = await none.browser().get(Start().url)
        assert "/oauth2/upstream" not in page.text


async def test_where_to_go_on_to_is_checked(house: House) -> None:
    for odd in ("https://evil.example/", "//evil.example", "/oauth2/authorize?client_id=x"):
        answer = await house.http.get("/oauth2/upstream", params={"return_to": odd})
        assert answer.status_code == 400
