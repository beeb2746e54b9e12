"""The authorization code flow as a browser and a client go through it, and what is refused."""

import asyncio
import time
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc import jwk, jwt
from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from identity_svc import keys
from identity_svc.models import AuthorizationCode, LoginSession
from kit.clock import now

from .conftest import CALLBACK, SECRETS, House, Start, bearer, called_back


async def test_whole_flow(house: House) -> None:
    start = Start()
    back = await house.browser().sign_in(start)
    assert back["state"] == "s-1"
    assert back["iss"] == "http://beam.test"
    answer = await house.exchange(start, back["code"])
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json()
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] <= 900

    keys = jwk.KeySet.import_key_set((await house.http.get("/.well-known/jwks.json")).json())
    assert len(keys.keys) == 2
    access = jwt.decode(tokens["access_token"], keys, algorithms=["ES256"])
    assert access.header["typ"] == "at+jwt"
    claims = access.claims
    assert claims["iss"] == "http://beam.test"
    assert claims["aud"] == "beam"
    assert claims["sub"] == "acc_zhangsan"
    assert claims["kind"] == "person"
    assert claims["acr"] == "L3"
    assert claims["client_id"] == "demo-app"
    assert claims["scope"] == "openid profile"
    assert claims["exp"] - claims["iat"] <= 900
    assert "name" not in claims

    identity = jwt.decode(tokens["id_token"], keys, algorithms=["ES256"]).claims
    assert identity["aud"] == "demo-app"
    assert identity["nonce"] == "n-1"
    assert identity["amr"] == ["pwd"]
    assert identity["acr"] == "L3"
    assert abs(identity["auth_time"] - time.time()) < 120
    assert identity["at_hash"]

    who = await house.http.get("/oauth2/userinfo", headers=bearer(tokens))
    assert who.json() == {"sub": "acc_zhangsan", "kind": "person", "acr": "L3", "name": "张*"}


async def test_by_post_too(house: House) -> None:
    start = Start()
    browser = house.browser()
    await browser.sign_in(start)
    fields = dict(parse_qsl(urlsplit(start.url).query))
    back = called_back(await browser.http.post("/oauth2/authorize", data=fields))
    tokens = (await house.exchange(start, back["code"])).json()
    who = await house.http.post("/oauth2/userinfo", headers=bearer(tokens))
    assert who.json()["sub"] == "acc_zhangsan"


async def test_keys_go_on_serving_while_the_database_is_away(house: House) -> None:
    runtime = house.running.runtime
    ring = keys.SigningKeys(runtime.sessions, runtime.vault)
    known = await ring.jwks()
    nowhere = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:9/none")
    ring._sessions = async_sessionmaker(nowhere)
    ring._read_at = float("-inf")
    assert await ring.jwks() == known
    with pytest.raises((SQLAlchemyError, OSError)):
        await keys.SigningKeys(async_sessionmaker(nowhere), runtime.vault).current()
    await nowhere.dispose()


async def test_staff_token_says_role_and_place(house: House) -> None:
    tokens = await house.signed_in("r02")
    me = (await house.http.get("/v1/me", headers=bearer(tokens))).json()
    assert me["staff"] == {
        "number": "r02",
        "roles": ["reviewer"],
        "dept": "FIRE",
        "region": "310115",
        "items": None,
    }
    caller = await house.running.runtime.keyring.verify(tokens["access_token"])
    assert (caller.kind, caller.dept, caller.region) == ("staff", "FIRE", "310115")
    assert caller.roles == {"reviewer"}


async def test_a_signed_in_browser_is_not_asked_again(house: House) -> None:
    browser = house.browser()
    await browser.sign_in(Start())
    assert "code" in called_back(await browser.get(Start().url))
    silent = called_back(await browser.get(Start(changes={"prompt": "none"}).url))
    assert "code" in silent
    assert "登录" in (await browser.get(Start(changes={"prompt": "login"}).url)).text
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(update(LoginSession).values(auth_time=now() - timedelta(seconds=30)))
    assert "登录" in (await browser.get(Start(changes={"max_age": "5"}).url)).text
    refused = called_back(await browser.get(Start(changes={"max_age": "5", "prompt": "none"}).url))
    assert refused["error"] == "login_required"


async def test_code_works_once_and_reuse_ends_what_came_of_it(house: House) -> None:
    start = Start()
    back = await house.code(start)
    first = (await house.exchange(start, back["code"])).json()
    again = await house.exchange(start, back["code"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert (await house.refresh(first["refresh_token"])).status_code == 400
    who = await house.http.get("/oauth2/userinfo", headers=bearer(first))
    assert who.status_code == 401
    asked = await house.http.post(
        "/oauth2/introspect",
        data={"token": first["access_token"]},
        auth=("svc-case", SECRETS["svc-case"]),
    )
    assert asked.json() == {"active": False}


async def test_two_at_once_with_one_code(house: House) -> None:
    start = Start()
    code = (await house.code(start))["code"]
    answers = await asyncio.gather(*(house.exchange(start, code) for _ in range(4)))
    assert sorted(a.status_code for a in answers) == [200, 400, 400, 400]


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "x" * 64},
        {"code_verifier": ""},
        {"code_verifier": "short"},
        {"client_id": "portal"},
        {"client_id": "nobody"},
        {"client_id": ""},
        {"redirect_uri": "http://127.0.0.1:9/callback/"},
        {"redirect_uri": ""},
        {"code": "guess"},
        {"code": "乱" * 50},
        {"client_secret": "a-secret-that-a-public-client-has-not"},
    ],
)
async def test_a_code_is_bound_to_its_request(house: House, changes: dict[str, str]) -> None:
    start = Start()
    back = await house.code(start)
    answer = await house.exchange(start, **{"code": back["code"], **changes})
    assert answer.status_code in (400, 401), answer.text
    assert answer.json()["error"] in ("invalid_grant", "invalid_request", "invalid_client")
    for value in changes.values():
        assert not value or value not in answer.text
    assert (await house.exchange(start, back["code"])).status_code == 200


async def test_code_lives_a_minute(house: House) -> None:
    start = Start()
    back = await house.code(start)
    async with house.running.runtime.sessions.begin() as session:
        ends = await session.scalar(select(func.max(AuthorizationCode.expires_at)))
        assert ends is not None
        assert ends <= now() + timedelta(seconds=60)
        await session.execute(
            update(AuthorizationCode).values(expires_at=now() - timedelta(seconds=1))
        )
    assert (await house.exchange(start, back["code"])).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "too-short"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": '"\\坏'}, "unsupported_response_type"),
        ({"scope": "openid everything"}, "invalid_scope"),
        ({"scope": "internal"}, "invalid_scope"),
        ({"prompt": "none"}, "login_required"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
    ],
)
async def test_the_client_hears_what_is_wrong(
    house: House, changes: dict[str, str | None], error: str
) -> None:
    back = called_back(await house.browser().get(Start(changes=changes).url))
    assert back["error"] == error
    assert back["state"] == "s-1"
    assert "code" not in back


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "http://127.0.0.1:9/callback/../evil"},
        {"redirect_uri": "http://127.0.0.1:9/callback?x=1"},
        {"redirect_uri": "http://127.0.0.1:10/callback"},
        {"redirect_uri": "https://evil.example/坏"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": None},
        {"client_id": "nobody"},
        {"client_id": "svc-case"},
        {"client_id": "demo-app\x00"},
        {"client_id": None},
        {"request": "eyJhbGciOiJub25lIn0.e30."},
        {"request_uri": "https://evil.example/r"},
        {"state": "x" * 5000},
        {"state": "a\nb"},
    ],
)
async def test_nobody_is_sent_to_an_address_that_is_not_registered(
    house: House, changes: dict[str, str | None]
) -> None:
    page = await house.browser().get(Start(changes=changes).url)
    assert page.status_code == 400
    assert "location" not in page.headers
    assert "evil" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_a_parameter_may_not_come_twice(house: House) -> None:
    page = await house.browser().get(Start().url + "&scope=openid")
    assert page.status_code == 400
    start = Start()
    code = (await house.code(start))["code"]
    body = (
        f"grant_type=authorization_code&client_id=demo-app&redirect_uri={CALLBACK}"
        f"&code={code}&code={code}&code_verifier={start.verifier}"
    )
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = await house.http.post("/oauth2/token", content=body, headers=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"grant_type":"client_credentials"}', "application/json"),
        (b"grant_type=password&username=a&password=b", "application/x-www-form-urlencoded"),
        (b"grant_type=%ff%fe", "application/x-www-form-urlencoded"),
        (b"\xff\x00\xfe", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % i for i in range(500)), "application/x-www-form-urlencoded"),
        (b"", "application/x-www-form-urlencoded"),
        (b"grant_type=implicit", "application/x-www-form-urlencoded"),
        (b"grant_type=authorization_code&code=%00", "application/x-www-form-urlencoded"),
    ],
)
async def test_unreadable_token_requests(house: House, body: bytes, kind: str) -> None:
    for path in ("/oauth2/token", "/oauth2/revoke", "/oauth2/introspect"):
        answer = await house.http.post(path, content=body, headers={"content-type": kind})
        assert answer.status_code in (400, 401), (path, answer.text)
        assert set(answer.json()) == {"error", "error_description"}


async def test_discovery_names_what_is_there(house: House) -> None:
    document = (await house.http.get("/.well-known/openid-configuration")).json()
    assert document["issuer"] == "http://beam.test"
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["response_types_supported"] == ["code"]
    for name in ("jwks_uri", "userinfo_endpoint", "authorization_endpoint"):
        path = urlsplit(document[name]).path
        assert (await house.http.get(path)).status_code != 404


async def test_state_survives_the_login_page(house: House) -> None:
    odd = "a b&c=<script>\"'%E4%BD%A0/好"
    back = await house.browser().sign_in(Start(changes={"state": odd}))
    assert back["state"] == odd
