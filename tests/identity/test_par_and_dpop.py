"""PAR, DPoP and private_key_jwt at the provider: the negative cases of FAPI 2.0."""

import asyncio
import time
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from sqlalchemy import update

from identity_svc import clients
from identity_svc.models import AuthorizationCode, PushedRequest
from kit.clock import now
from kit.testing import key

from .conftest import CALLBACK, SECRETS, House, Start, called_back
from .holders import ISSUER, Holder

BANK, RIVAL = Holder(), Holder()
PROVER = Holder()


@pytest.fixture(scope="module", autouse=True)
async def _clients(house: House) -> None:
    strict = {"bound": True, "pushed_only": True}
    async with house.running.runtime.sessions.begin() as session:
        for name, holder in (("bank", BANK), ("rival", RIVAL)):
            base = clients.app(name, "银行", "Bank", [CALLBACK])
            await clients.put(session, {**base, **strict, "jwks": {"keys": [holder.public]}})


def fields(start: Start, **changes: str) -> dict[str, str]:
    return {**dict(parse_qsl(urlsplit(start.url).query)), **changes}


async def push(house: House, sent: dict[str, str], **headers: str) -> httpx.Response:
    return await house.http.post("/oauth2/par", data=sent, headers=headers)


async def pushed(house: House, start: Start, **changes: str) -> str:
    sent = {**fields(start, client_id="bank"), **BANK.assertion("bank"), **changes}
    answer = await push(house, sent)
    assert answer.status_code == 201, answer.text
    assert answer.json()["expires_in"] < 600
    return str(answer.json()["request_uri"])


def reference(uri: str, client_id: str = "bank", **more: str) -> str:
    return "/oauth2/authorize?" + urlencode({"client_id": client_id, "request_uri": uri, **more})


async def tokens(
    house: House, sent: dict[str, Any], proof: str | None = None, holder: Holder = BANK
) -> httpx.Response:
    client = sent.pop("client_id", "bank")
    headers = {"dpop": proof} if proof else {}
    form = {"client_id": client, **holder.assertion(client), **sent}
    return await house.http.post("/oauth2/token", data=form, headers=headers)


def code_fields(start: Start, code: str) -> dict[str, Any]:
    return {
        "grant_type": "authorization_code",
        "redirect_uri": CALLBACK,
        "code": code,
        "code_verifier": start.verifier,
    }


async def code_of(house: House, start: Start, **changes: str) -> str:
    await house.code(Start())  # a browser that is signed in
    browser = house._browsers["13800000001"]
    return called_back(await browser.get(reference(await pushed(house, start, **changes))))["code"]


async def test_the_whole_strict_flow(house: House) -> None:
    start = Start()
    browser = house.browser()
    uri = await pushed(house, start)
    assert "登录" in (await browser.get(reference(uri))).text
    await browser.submit(login="13800000001", password="Beam-demo-2026")
    back = called_back(browser.page)
    assert (back["state"], back["iss"]) == ("s-1", ISSUER)
    answer = await tokens(
        house, code_fields(start, back["code"]), PROVER.proof("POST", "/oauth2/token")
    )
    assert answer.status_code == 200, answer.text
    given = answer.json()
    assert given["token_type"] == "DPoP"
    me = await house.http.get(
        "/v1/me", headers=PROVER.bearing(given["access_token"], "GET", "/v1/me")
    )
    assert me.json()["id"] == "acc_zhangsan"
    plain = {"authorization": f"Bearer {given['access_token']}"}
    assert (await house.http.get("/v1/me", headers=plain)).status_code == 401
    caller = await house.running.runtime.keyring.verify(given["access_token"])
    assert caller.jkt == PROVER.jkt
    said = await house.http.post(
        "/oauth2/introspect",
        data={"token": given["access_token"]},
        auth=("svc-case", SECRETS["svc-case"]),
    )
    assert said.json()["cnf"] == {"jkt": PROVER.jkt}
    assert said.json()["token_type"] == "DPoP"
    # A client that proves itself may change its key when it refreshes.
    other = Holder()
    refresh = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    second = await tokens(house, dict(refresh), other.proof("POST", "/oauth2/token"))
    assert second.status_code == 200, second.text
    assert (await house.running.runtime.keyring.verify(second.json()["access_token"])).jkt == (
        other.jkt
    )
    # The code a second time: refused, and the family is dead.
    again = await tokens(
        house, code_fields(start, back["code"]), PROVER.proof("POST", "/oauth2/token")
    )
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    refresh["refresh_token"] = second.json()["refresh_token"]
    dead = await tokens(house, refresh, other.proof("POST", "/oauth2/token"))
    assert (dead.status_code, dead.json()["error"]) == (400, "invalid_grant")


async def test_a_strict_client_must_push(house: House) -> None:
    await house.code(Start())
    browser = house._browsers["13800000001"]
    back = called_back(await browser.get(Start(changes={"client_id": "bank"}).url))
    assert back["error"] == "invalid_request"
    assert "code" not in back


async def test_a_reference_is_answered_once(house: House) -> None:
    await house.code(Start())
    browser = house._browsers["13800000001"]
    uri = await pushed(house, Start())
    assert "code" in called_back(await browser.get(reference(uri)))
    again = await browser.get(reference(uri))
    assert again.status_code == 400
    assert "location" not in again.headers


async def test_a_reference_at_the_same_moment(house: House) -> None:
    await house.code(Start())
    browser = house._browsers["13800000001"]
    uri = await pushed(house, Start())
    both = await asyncio.gather(*(browser.http.get(reference(uri)) for _ in range(4)))
    assert sorted(answer.status_code for answer in both) == [303, 400, 400, 400]


async def test_a_reference_is_of_its_client_and_its_time(house: House) -> None:
    await house.code(Start())
    browser = house._browsers["13800000001"]
    uri = await pushed(house, Start())
    for wrong in (
        reference(uri, "rival"),
        reference(uri + "x"),
        reference("urn:ietf:params:oauth:request_uri:" + "A" * 43),
        reference("https://evil.example/request.jwt"),
        reference(uri, request="e30.e30."),
        "/oauth2/authorize?" + urlencode({"request_uri": uri}),
    ):
        assert (await browser.get(wrong)).status_code == 400, wrong
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(update(PushedRequest).values(expires_at=now()))
    assert (await browser.get(reference(uri))).status_code == 400


async def test_what_the_browser_adds_does_not_count(house: House) -> None:
    await house.code(Start())
    browser = house._browsers["13800000001"]
    uri = await pushed(house, Start())
    more = {"redirect_uri": "http://evil.example/", "scope": "internal", "state": "evil"}
    back = called_back(await browser.get(reference(uri, **more)))
    assert back["state"] == "s-1"


async def test_a_pushed_prompt_is_obeyed_once(house: House) -> None:
    await house.code(Start())
    browser = house._browsers["13800000001"]
    uri = await pushed(house, Start(), prompt="login")
    assert "登录" in (await browser.get(reference(uri))).text
    await browser.submit(login="13800000001", password="Beam-demo-2026")
    assert "code" in called_back(browser.page)


PUSH_REFUSED: dict[str, dict[str, str]] = {
    "plain PKCE": {"code_challenge_method": "plain"},
    "no PKCE": {"code_challenge": ""},
    "unknown redirect": {"redirect_uri": "http://evil.example/"},
    "a reference inside": {"request_uri": "urn:ietf:params:oauth:request_uri:abc"},
    "a request object": {"request": "e30.e30."},
    "implicit": {"response_type": "token"},
    "unknown scope": {"scope": "openid everything"},
    "odd thumbprint": {"dpop_jkt": "short"},
    "other client": {"client_id": "rival"},
}


@pytest.mark.parametrize("name", PUSH_REFUSED)
async def test_what_may_not_be_pushed(house: House, name: str) -> None:
    sent = {**fields(Start(), client_id="bank"), **BANK.assertion("bank"), **PUSH_REFUSED[name]}
    answer = await push(house, {k: v for k, v in sent.items() if v})
    assert answer.status_code in (400, 401), answer.text
    assert "location" not in answer.headers
    assert "error" in answer.json()


async def test_pushing_needs_a_proven_client(house: House) -> None:
    answer = await push(house, fields(Start(), client_id="bank"))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    # A public client has nothing to prove.
    assert (await push(house, fields(Start()))).status_code == 201


ASSERTIONS: dict[str, dict[str, Any]] = {
    "for the token endpoint": {"aud": f"{ISSUER}/oauth2/token"},
    "for many": {"aud": [ISSUER, "http://evil.example"]},
    "for somebody else": {"aud": "http://evil.example"},
    "expired": {"iat": int(time.time()) - 900, "exp": int(time.time()) - 600},
    "for a day": {"exp": int(time.time()) + 86_400},
    "no end": {"exp": ...},
    "no jti": {"jti": ...},
    "other subject": {"sub": "rival"},
    "other issuer": {"iss": "rival"},
    "subject is a number": {"sub": 7},
}


@pytest.mark.parametrize("name", ASSERTIONS)
async def test_an_assertion_that_does_not_fit(house: House, name: str) -> None:
    sent = {**fields(Start(), client_id="bank"), **BANK.assertion("bank", **ASSERTIONS[name])}
    answer = await push(house, sent)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), answer.text


async def test_an_assertion_works_once_and_alone(house: House) -> None:
    proof = BANK.assertion("bank")
    sent = {**fields(Start(), client_id="bank"), **proof}
    assert (await push(house, sent)).status_code == 201
    assert (await push(house, sent)).status_code == 401
    stranger = {**fields(Start(), client_id="bank"), **Holder().assertion("bank")}
    assert (await push(house, stranger)).status_code == 401
    two = {**fields(Start(), client_id="bank"), **BANK.assertion("bank"), "client_secret": "x"}
    assert (await push(house, two)).json()["error"] == "invalid_request"
    unsigned = {**fields(Start(), client_id="bank"), **proof}
    head, body, _ = proof["client_assertion"].split(".")
    unsigned["client_assertion"] = f"{head}.{body}."
    assert (await push(house, unsigned)).status_code == 401
    odd = {**fields(Start(), client_id="bank"), **proof, "client_assertion": "not a token"}
    assert (await push(house, odd)).status_code == 401
    # demo-app has no key: an assertion cannot prove it.
    foreign = {**fields(Start()), **BANK.assertion("demo-app")}
    assert (await push(house, foreign)).status_code == 401


async def test_a_code_needs_its_client_its_key_and_its_time(house: House) -> None:
    start = Start()
    code = await code_of(house, start, dpop_jkt=PROVER.jkt)
    sent = code_fields(start, code)
    path = "/oauth2/token"

    async def refused(proof: str | None, error: str, holder: Holder = BANK, **changes: str) -> None:
        answer = await tokens(house, {**sent, **changes}, proof, holder)
        assert (answer.status_code, answer.json()["error"]) == (400, error), answer.text

    await refused(None, "invalid_dpop_proof")
    await refused(Holder().proof("POST", path), "invalid_grant")
    await refused(PROVER.proof("GET", path), "invalid_dpop_proof")
    await refused(PROVER.proof("POST", "/oauth2/par"), "invalid_dpop_proof")
    await refused(PROVER.proof("POST", path, iat=int(time.time()) - 300), "invalid_dpop_proof")
    await refused("not a proof", "invalid_dpop_proof")
    await refused(PROVER.proof("POST", path), "invalid_grant", RIVAL, client_id="rival")
    await refused(PROVER.proof("POST", path), "invalid_grant", code_verifier="a" * 43)
    used = PROVER.proof("POST", path)
    assert (await tokens(house, dict(sent), used)).status_code == 200
    await refused(used, "invalid_dpop_proof")
    late = await code_of(house, start)
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(update(AuthorizationCode).values(expires_at=now() - timedelta(1)))
    sent["code"] = late
    await refused(PROVER.proof("POST", path), "invalid_grant")


async def test_two_proofs_are_none(house: House) -> None:
    start = Start()
    form = {**code_fields(start, "x"), "client_id": "bank", **BANK.assertion("bank")}
    headers = [("dpop", PROVER.proof("POST", "/oauth2/token")) for _ in range(2)]
    answer = await house.http.post("/oauth2/token", data=form, headers=headers)
    assert answer.json()["error"] == "invalid_dpop_proof"


async def test_the_key_of_the_push_binds_the_code(house: House) -> None:
    await house.code(Start())
    start, browser = Start(), house._browsers["13800000001"]
    sent = {**fields(start, client_id="bank"), **BANK.assertion("bank")}
    answer = await push(house, sent, dpop=PROVER.proof("POST", "/oauth2/par"))
    back = called_back(await browser.get(reference(answer.json()["request_uri"])))
    wrong = await tokens(
        house, code_fields(start, back["code"]), Holder().proof("POST", "/oauth2/token")
    )
    assert wrong.json()["error"] == "invalid_grant"
    right = await tokens(
        house, code_fields(start, back["code"]), PROVER.proof("POST", "/oauth2/token")
    )
    assert right.status_code == 200
    two = {**sent, **BANK.assertion("bank"), "dpop_jkt": Holder().jkt}
    answer = await push(house, two, dpop=PROVER.proof("POST", "/oauth2/par"))
    assert answer.json()["error"] == "invalid_dpop_proof"


async def test_a_public_client_refreshes_with_its_key_only(house: House) -> None:
    start = Start()
    back = await house.code(start)
    form = {**code_fields(start, back["code"]), "client_id": "demo-app"}
    first = await house.http.post(
        "/oauth2/token", data=form, headers={"dpop": PROVER.proof("POST", "/oauth2/token")}
    )
    assert first.json()["token_type"] == "DPoP"
    refresh = {
        "grant_type": "refresh_token",
        "client_id": "demo-app",
        "refresh_token": first.json()["refresh_token"],
    }
    for proof in (None, Holder().proof("POST", "/oauth2/token")):
        headers = {"dpop": proof} if proof else {}
        stolen = await house.http.post("/oauth2/token", data=refresh, headers=headers)
        assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    # Trying without the key does no harm to who has it.
    mine = await house.http.post(
        "/oauth2/token", data=refresh, headers={"dpop": PROVER.proof("POST", "/oauth2/token")}
    )
    assert mine.status_code == 200
    assert mine.json()["token_type"] == "DPoP"


async def test_a_bound_token_registers_nothing_for_others(house: House) -> None:
    """A POST of a bound token: the proof is for the method too."""
    start = Start()
    back = await house.code(start)
    form = {**code_fields(start, back["code"]), "client_id": "demo-app"}
    proof = PROVER.proof("POST", "/oauth2/token")
    given = (await house.http.post("/oauth2/token", data=form, headers={"dpop": proof})).json()
    path = "/v1/accounts/acc_lisi/suspend"
    headers = PROVER.bearing(given["access_token"], "POST", path)
    assert (await house.http.post(path, headers={**headers, **key()})).status_code == 403
    headers = PROVER.bearing(given["access_token"], "GET", path)
    assert (await house.http.post(path, headers={**headers, **key()})).status_code == 401
    info = PROVER.bearing(given["access_token"], "GET", "/oauth2/userinfo")
    assert (await house.http.get("/oauth2/userinfo", headers=info)).status_code == 200


async def test_a_service_may_be_bound_too(house: House) -> None:
    proof = PROVER.proof("POST", "/oauth2/token")
    answer = await house.http.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=("svc-case", SECRETS["svc-case"]),
        headers={"dpop": proof},
    )
    assert answer.json()["token_type"] == "DPoP"
