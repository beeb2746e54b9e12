"""What the conformance plans of Basic OP and FAPI 2.0 SP try and the other files here do not."""

import time
import warnings
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from joserfc import jwk, jwt
from joserfc.errors import SecurityWarning

from identity_svc import clients

from .conftest import CALLBACK, House, Start, bearer, called_back
from .holders import ISSUER, Holder, b64

BANK, PROVER = Holder(), Holder()
RSA = jwk.RSAKey.generate_key(2048)


@pytest.fixture(scope="module", autouse=True)
async def _clients(house: House) -> None:
    base = clients.app("fapi", "银行", "Bank", [CALLBACK])
    strict = {"bound": True, "pushed_only": True, "jwks": {"keys": [BANK.public]}}
    async with house.running.runtime.sessions.begin() as session:
        await clients.put(session, {**base, **strict})


def fields(start: Start, **changes: str) -> dict[str, str]:
    return {**dict(parse_qsl(urlsplit(start.url).query)), "client_id": "fapi", **changes}


async def push(house: House, sent: dict[str, str], **headers: str) -> httpx.Response:
    return await house.http.post("/oauth2/par", data=sent, headers=headers)


def asserted(alg: str) -> dict[str, str]:
    """An assertion with right claims under another algorithm."""
    at = int(time.time())
    claims = {"iss": "fapi", "sub": "fapi", "aud": ISSUER, "jti": "x", "iat": at, "exp": at + 60}
    proof = BANK.assertion("fapi")
    head = {"alg": alg, "kid": BANK.jkt}
    if alg in ("RS256", "PS256"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            proof["client_assertion"] = jwt.encode(head, claims, RSA, [alg])
    elif alg == "HS256":
        secret = jwk.OctKey.import_key(BANK.public["x"])
        proof["client_assertion"] = jwt.encode(head, claims, secret, ["HS256"])
    else:
        text = proof["client_assertion"].split(".")
        proof["client_assertion"] = f"{b64(b'{%s}' % _json(head))}.{text[1]}."
    return proof


def _json(head: dict[str, str]) -> bytes:
    return ",".join(f'"{name}":"{value}"' for name, value in head.items()).encode()


@pytest.mark.parametrize("alg", ["RS256", "PS256", "HS256", "none"])
async def test_an_assertion_under_another_algorithm(house: House, alg: str) -> None:
    answer = await push(house, {**fields(Start()), **asserted(alg)})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), answer.text


@pytest.mark.parametrize(("seconds", "status"), [(10, 201), (-10, 201), (120, 401)])
async def test_the_clock_of_an_assertion(house: House, seconds: int, status: int) -> None:
    at = int(time.time()) + seconds
    proof = BANK.assertion("fapi", iat=at, exp=at + 60)
    assert (await push(house, {**fields(Start()), **proof})).status_code == status


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"jku": "https://evil.example/"}])
async def test_odd_headers_of_an_assertion(house: House, header: dict[str, Any]) -> None:
    at = int(time.time())
    claims = {"iss": "fapi", "sub": "fapi", "aud": ISSUER, "jti": "y", "iat": at, "exp": at + 60}
    proof = BANK.assertion("fapi")
    proof["client_assertion"] = BANK.signed({"alg": "ES256", "kid": BANK.jkt, **header}, claims)
    assert (await push(house, {**fields(Start()), **proof})).status_code == 401


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"iat": 10}, 201),
        ({"iat": -10}, 201),
        ({"iat": 60}, 400),
        ({"iat": -120}, 400),
        ({"jti": ...}, 400),
        ({"htm": "GET"}, 400),
        ({"htu": "http://beam.test/oauth2/token"}, 400),
        ({"header": {"alg": "RS256"}}, 400),
        ({"header": {"alg": "none"}}, 400),
        ({"header": {"typ": "JWT"}}, 400),
        ({"header": {"jwk": {"kty": "oct", "k": "AAAA"}}}, 400),
        ({"header": {"jwk": {}}}, 400),
        ({"header": {"crit": ["iat"]}}, 400),
    ],
)
async def test_the_proof_at_the_push(house: House, changes: dict[str, Any], status: int) -> None:
    made = {**changes}
    if isinstance(made.get("iat"), int):
        made["iat"] += int(time.time())
    sent = {**fields(Start()), **BANK.assertion("fapi")}
    answer = await push(house, sent, dpop=PROVER.proof("POST", "/oauth2/par", **made))
    assert answer.status_code == status, answer.text
    if status == 400:
        assert answer.json()["error"] == "invalid_dpop_proof"


@pytest.mark.parametrize("repeated", ["redirect_uri", "scope", "state", "code_challenge", "nonce"])
async def test_a_repeated_parameter_at_the_push(house: House, repeated: str) -> None:
    sent = [*fields(Start()).items(), *BANK.assertion("fapi").items()]
    again = [*sent, (repeated, dict(sent)[repeated])]
    answer = await house.http.post(
        "/oauth2/par",
        content=str(httpx.QueryParams(again)),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_parameters_that_we_do_not_know_do_no_harm(house: House) -> None:
    """oidcc: display, ui_locales, claims_locales, login_hint, id_token_hint, extra."""
    changes: dict[str, str | None] = {
        "display": "page",
        "ui_locales": "en zh-CN",
        "claims_locales": "fr",
        "login_hint": "somebody",
        "extra": "foobar",
        "resource_hint": "x",
    }
    assert "code" in called_back(await (await _browser(house)).get(Start(changes=changes).url))


async def _browser(house: House) -> Any:
    await house.code(Start())
    return house._browsers["13800000001"]


async def test_prompt_none_keeps_who_is_there(house: House) -> None:
    browser = await _browser(house)
    subs = set()
    for prompt in (None, "none"):
        start = Start(changes={"prompt": prompt})
        code = called_back(await browser.get(start.url))["code"]
        tokens = (await house.exchange(start, code)).json()
        known = jwk.KeySet.import_key_set((await house.http.get("/.well-known/jwks.json")).json())
        claims = jwt.decode(tokens["id_token"], known, algorithms=["ES256"]).claims
        subs.add((claims["sub"], claims["auth_time"]))
    assert len(subs) == 1


@pytest.mark.parametrize(("scope", "has"), [("openid", True), ("profile", False)])
async def test_an_id_token_comes_with_openid_alone(house: House, scope: str, has: bool) -> None:
    start = Start(changes={"scope": scope, "nonce": None})
    code = (await house.code(start))["code"]
    tokens = (await house.exchange(start, code)).json()
    assert ("id_token" in tokens) == has
    if has:
        known = jwk.KeySet.import_key_set((await house.http.get("/.well-known/jwks.json")).json())
        claims = jwt.decode(tokens["id_token"], known, algorithms=["ES256"]).claims
        assert "nonce" not in claims


async def test_userinfo_takes_the_token_from_the_header_alone(house: House) -> None:
    tokens = await house.signed_in()
    token = tokens["access_token"]
    for sent in (
        house.http.get("/oauth2/userinfo", params={"access_token": token}),
        house.http.post("/oauth2/userinfo", data={"access_token": token}),
        house.http.get("/oauth2/userinfo"),
        house.http.get("/oauth2/userinfo", headers={"authorization": f"Bearer {token}x"}),
        house.http.get("/oauth2/userinfo", headers=bearer({"access_token": tokens["id_token"]})),
    ):
        answer = await sent
        assert answer.status_code == 401
        assert "www-authenticate" in answer.headers


async def test_refreshing_gives_no_more_than_there_was(house: House) -> None:
    start = Start(changes={"scope": "openid"})
    tokens = (await house.exchange(start, (await house.code(start))["code"])).json()
    more = await house.refresh(tokens["refresh_token"], scope="openid profile")
    assert (more.status_code, more.json()["error"]) == (400, "invalid_scope")
