"""A token bound to a key opens a service only with a fresh proof for that very request."""

import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from kit import dpop, errors, telemetry
from kit.auth import Anyone, Caller, Keyring
from kit.calls import Calls
from kit.jose import SigningKey
from kit.settings import ServiceSettings
from kit.testing import serve

from ..identity.holders import ISSUER, Holder

KEY = SigningKey(SigningKey.generate())
MINE, OTHER = Holder(), Holder()


def token(jkt: Any = MINE.jkt, **changes: Any) -> str:
    at = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": "beam",
        "sub": "acc_1",
        "jti": "t1",
        "iat": at,
        "exp": at + 600,
        "kind": "person",
        "cnf": {"jkt": jkt},
        **changes,
    }
    return KEY.sign({name: v for name, v in claims.items() if v is not ...}, "at+jwt")


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.add_middleware(telemetry.RequestTelemetry, service="test")
    errors.install(app)

    async def jwks() -> dict[str, Any]:
        return {"keys": [KEY.public_jwk]}

    app.state.runtime = SimpleNamespace(keyring=Keyring(ISSUER, jwks))

    @app.get("/who/{name}")
    async def who(caller: Anyone) -> dict[str, str]:
        return {"sub": caller.subject}

    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://inside") as client:
        yield client


async def test_a_fresh_proof_opens(service: httpx.AsyncClient) -> None:
    for path, query in (("/who/me", ""), ("/who/me", "?a=1"), ("/who/%E5%BC%A0", "")):
        answer = await service.get(path + query, headers=MINE.bearing(token(), "GET", path))
        assert answer.json() == {"sub": "acc_1"}, answer.text


@pytest.mark.parametrize("seconds", [-10, 10])
async def test_clocks_may_differ_by_ten_seconds(service: httpx.AsyncClient, seconds: int) -> None:
    at = int(time.time()) + seconds
    answer = await service.get("/who/me", headers=MINE.bearing(token(), "GET", "/who/me", iat=at))
    assert answer.status_code == 200


REFUSED: dict[str, dict[str, Any]] = {
    "other method": {"htm": "POST"},
    "other path": {"htu": f"{ISSUER}/who/you"},
    "other host": {"htu": "http://evil.example/who/me"},
    "address is a number": {"htu": 7},
    "address is odd": {"htu": "http://[::1/who/me"},
    "no address": {"htu": ...},
    "too old": {"iat": int(time.time()) - 300},
    "from the future": {"iat": int(time.time()) + 120},
    "time is text": {"iat": "now"},
    "time is true": {"iat": True},
    "time is huge": {"iat": 10**400},
    "no time": {"iat": ...},
    "no jti": {"jti": ...},
    "empty jti": {"jti": ""},
    "jti is a list": {"jti": ["a"]},
    "other token": {"ath": dpop.hashed("another")},
    "no token hash": {"ath": ...},
    "token hash is a number": {"ath": 7},
    "token hash is not ASCII": {"ath": "é"},
    "typ of a token": {"header": {"typ": "at+jwt"}},
    "no key": {"header": {"jwk": None}},
    "key is text": {"header": {"jwk": "key"}},
    "private key": {"header": {"jwk": MINE.key.as_dict(private=True)}},
    "key of somebody else": {"header": {"jwk": OTHER.key.as_dict(private=False)}},
    "unknown crit": {"header": {"b64": True, "crit": ["b64"]}},
    "jku": {"header": {"jku": "https://evil.example/keys"}},
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_proof_that_does_not_fit(service: httpx.AsyncClient, name: str) -> None:
    headers = MINE.bearing(token(), "GET", "/who/me", **REFUSED[name])
    answer = await service.get("/who/me", headers=headers)
    assert answer.status_code == 401, (name, answer.text)
    assert answer.headers["www-authenticate"].startswith('DPoP error="invalid_dpop_proof"')


async def test_a_copied_request_is_refused(service: httpx.AsyncClient) -> None:
    headers = MINE.bearing(token(), "GET", "/who/me")
    assert (await service.get("/who/me", headers=headers)).status_code == 200
    assert (await service.get("/who/me", headers=headers)).status_code == 401


async def test_the_key_of_another_holder(service: httpx.AsyncClient) -> None:
    headers = OTHER.bearing(token(), "GET", "/who/me")
    assert (await service.get("/who/me", headers=headers)).status_code == 401


async def test_schemes_are_not_exchanged(service: httpx.AsyncClient) -> None:
    bound, free = token(), token(cnf=...)
    bearer = await service.get("/who/me", headers={"authorization": f"Bearer {bound}"})
    assert bearer.status_code == 401
    headers = MINE.bearing(free, "GET", "/who/me")
    assert (await service.get("/who/me", headers=headers)).status_code == 401
    two = [("authorization", f"DPoP {bound}")]
    two += [("dpop", MINE.proof("GET", "/who/me", token=bound)) for _ in range(2)]
    assert (await service.get("/who/me", headers=two)).status_code == 401
    alone = await service.get("/who/me", headers={"authorization": f"DPoP {bound}"})
    assert alone.status_code == 401


@pytest.mark.parametrize(
    "cnf", [{"jkt": 7}, {"x5t#S256": "a"}, "a", [], {"jkt": ""}, {"jkt": None}]
)
async def test_a_binding_that_nobody_knows(service: httpx.AsyncClient, cnf: Any) -> None:
    if cnf == []:
        cnf = [1]
    answer = await service.get("/who/me", headers={"authorization": f"Bearer {token(cnf=cnf)}"})
    assert answer.status_code == 401


async def test_a_service_passes_the_token_on_and_nobody_else(service: httpx.AsyncClient) -> None:
    theirs = token()
    inside = token(cnf=..., sub="svc-case", kind="service")
    passed = {"authorization": f"Bearer {inside}", "x-beam-caller": theirs}
    assert (await service.get("/who/me", headers=passed)).json() == {"sub": "acc_1"}
    person = {"authorization": f"Bearer {token(cnf=...)}", "x-beam-caller": theirs}
    assert (await service.get("/who/me", headers=person)).status_code == 401
    broken = {"authorization": f"Bearer {inside}", "x-beam-caller": theirs[:-4] + "AAAA"}
    assert (await service.get("/who/me", headers=broken)).status_code == 401


def test_memory_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: at)
    seen = dpop.Seen(most=3)
    assert all(seen.once(name) for name in "abc")
    assert not seen.once("a")
    with pytest.raises(dpop.Full):
        seen.once("d")
    at += 76
    assert seen.once("d")
    assert not seen.once("a")
    at += 76
    assert seen.once("a")
    at += 1000
    assert seen.once("d")


async def test_a_flood_of_proofs_is_a_503(
    service: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = service._transport.app  # type: ignore[attr-defined]
    monkeypatch.setattr(app.state.runtime.keyring, "proofs", dpop.Seen(most=0))
    answer = await service.get("/who/me", headers=MINE.bearing(token(), "GET", "/who/me"))
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


async def test_asking_on_behalf_of_a_bound_caller() -> None:
    """The service shows its own token and passes the caller's on beside it."""
    seen: dict[str, str] = {}
    app = FastAPI()

    @app.post("/oauth2/token")
    async def own() -> dict[str, Any]:
        return {"access_token": "ours", "expires_in": 600}

    @app.get("/v1/things")
    async def things(request: Request) -> dict[str, str]:
        seen.update(request.headers)
        return {"said": "yes"}

    class Settings(ServiceSettings):
        other_url: str

    async with serve(app) as url:
        calls = Calls(
            Settings(
                service="asking",
                database_url="postgresql+asyncpg://",  # type: ignore[arg-type]
                token_url=f"{url}/oauth2/token",
                other_url=url,
            )
        )
        bound = Caller("acc_1", "person", jkt="a", token="theirs")
        assert await calls.get("other", "/v1/things", as_=bound) == {"said": "yes"}
        assert (seen["authorization"], seen["x-beam-caller"]) == ("Bearer ours", "theirs")
        seen.clear()
        free = Caller("acc_1", "person", token="theirs")
        await calls.get("other", "/v1/things", as_=free)
        assert seen["authorization"] == "Bearer theirs"
        assert "x-beam-caller" not in seen
        await calls.close()
