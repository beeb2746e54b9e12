"""Who is let in: tokens, limits, health, the index page, metrics."""

import asyncio
import json
import time
import urllib.request
from typing import Any

import pytest

from kit.jose import SigningKey

from .conftest import Door, Keys, Opener, Recorder, bound, port_of, request, talk

CITIZEN = "/v1/items/a"


async def test_a_valid_token_passes_and_is_passed_on(
    door: Door, recorder: Recorder, keys: Keys
) -> None:
    token = f"Bearer {keys.token()}"
    answers = await talk(door.port, request(Authorization=token) * 2)
    assert [a.status for a in answers] == [200, 200]
    assert recorder.seen[1].header("authorization") == [token]


async def test_a_bound_token_and_its_proof_pass(door: Door, keys: Keys) -> None:
    token = keys.token(cnf={"jkt": "a" * 43})
    [answer] = await talk(door.port, request(Authorization=f"DPoP {token}", DPoP="proof"))
    assert answer.status == 200
    [answer] = await talk(door.port, request(Authorization=f"DPoP {token[:-4]}AAAA", DPoP="proof"))
    assert answer.status == 401


async def test_no_token_passes(door: Door) -> None:
    assert [a.status for a in await talk(door.port, request())] == [200]


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "http://evil.test"},
        {"aud": "other"},
        {"exp": 1},
        {"typ": "JWT"},
        {"iat": 1},
        {"sub": None},
    ],
    ids=lambda c: next(iter(c)),
)
async def test_a_wrong_token_is_stopped(
    door: Door, recorder: Recorder, keys: Keys, claims: dict[str, Any]
) -> None:
    raw = request(Authorization=f"Bearer {keys.token(**claims)}")
    answers = await talk(door.port, raw * 2)
    assert [a.problem["code"] for a in answers] == ["bad_token"] * 2
    assert answers[0].header("www-authenticate") == 'Bearer error="invalid_token"'
    assert recorder.seen == []


@pytest.mark.parametrize("token", ["abc", "a.b.c", "", "é", "x" * 9000])
async def test_what_is_no_token_is_stopped(door: Door, recorder: Recorder, token: str) -> None:
    raw = request(Authorization="@").replace(b"@", b"Bearer " + token.encode())
    [answer] = await talk(door.port, raw)
    assert answer.status == 401
    assert recorder.seen == []


async def test_a_foreign_signature_is_stopped(door: Door, keys: Keys, recorder: Recorder) -> None:
    other = SigningKey(SigningKey.generate())
    ours, other.kid = keys.key, keys.key.kid
    keys.key = other
    try:
        token = keys.token()
    finally:
        keys.key = ours
    [answer] = await talk(door.port, request(Authorization=f"Bearer {token}"))
    assert answer.status == 401
    assert recorder.seen == []


async def test_a_remembered_token_is_not_known_after_its_time(
    door: Door, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = keys.token()
    raw = request(Authorization=f"Bearer {token}")
    assert [a.status for a in await talk(door.port, raw)] == [200]
    assert door.beam.keyring.verify_cached(token) is not None
    later = time.time() + 3600
    monkeypatch.setattr("time.time", lambda: later)
    assert door.beam.keyring.verify_cached(token) is None


async def test_another_scheme_passes_only_where_the_public_may_come(door: Door) -> None:
    raw = request(Authorization="Basic YTpi")
    assert [a.status for a in await talk(door.port, raw)] == [200]
    raw = request(path="/v1/cases", Authorization="Basic YTpi")
    assert [a.status for a in await talk(door.port, raw)] == [401]


async def test_tokens_while_identity_is_away(open_door: Opener, recorder: Recorder) -> None:
    nowhere = bound()
    url = f"http://127.0.0.1:{port_of(nowhere)}/jwks"
    async with open_door(recorder.port, jwks_url=url) as door:
        [answer] = await talk(door.port, request(Authorization="Bearer a.b.c"))
        assert answer.problem["code"] == "identity_unavailable"
        assert [a.status for a in await talk(door.port, request())] == [200]
    nowhere.close()


async def test_the_limit(open_door: Opener, recorder: Recorder, keys: Keys) -> None:
    async with open_door(recorder.port, gateway_rate=0.5, gateway_burst=3) as door:
        answers = await talk(door.port, request() * 4)
        assert [a.status for a in answers] == [200, 200, 200, 429]
        assert answers[0].header("ratelimit-policy") == '"default";q=3;w=6'
        assert answers[0].header("ratelimit") == '"default";r=2;t=2'
        assert answers[3].header("retry-after") == "2"
        assert answers[3].problem["code"] == "too_many"
        assert len(recorder.seen) == 3
        # Someone with a token has an allowance of her own, wherever she calls from.
        raw = request(Authorization=f"Bearer {keys.token('acc_9')}")
        assert [a.status for a in await talk(door.port, raw)] == [200]


async def test_guessing_tokens_is_limited(open_door: Opener, recorder: Recorder) -> None:
    async with open_door(recorder.port, gateway_rate=0.5, gateway_burst=3) as door:
        raw = request(Authorization="Bearer a.b.c")
        assert [a.status for a in await talk(door.port, raw * 5)] == [401, 401, 401, 429, 429]


async def test_the_address_behind_a_trusted_proxy(open_door: Opener, recorder: Recorder) -> None:
    async with open_door(recorder.port, gateway_trusted_proxies=("127.0.0.1",)) as door:
        await talk(door.port, request(X_Forwarded_For="6.6.6.6, 192.0.2.7"))
        await talk(door.port, request(X_Forwarded_For="not an address"))
    assert recorder.seen[0].header("x-forwarded-for") == ["192.0.2.7"]
    assert recorder.seen[0].header("forwarded") == ["for=192.0.2.7;proto=http"]
    assert recorder.seen[1].header("x-forwarded-for") == ["127.0.0.1"]


async def test_health(door: Door, recorder: Recorder) -> None:
    [live] = await talk(door.port, request(path="/health/live"))
    assert live.status == 200
    [ready] = await talk(door.port, request(path="/health/ready"))
    assert ready.status == 200
    degraded = json.loads(ready.body)["degraded"]
    assert "payment" in degraded
    assert "catalog" not in degraded


async def test_the_index_page_asks_nothing_from_outside(door: Door) -> None:
    [answer] = await talk(door.port, request(path="/"))
    page = answer.body.decode()
    assert 'lang="zh-CN"' in page
    assert "缴费:暂不可用" in page
    assert "事项目录:正常" in page
    assert "http:" not in page
    assert "https:" not in page
    assert "<script" not in page
    policy = answer.header("content-security-policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


async def test_an_unknown_address_is_a_problem(door: Door) -> None:
    [answer] = await talk(door.port, request(path="/nothing", X_Request_Id="my-id.0001"))
    assert answer.problem["code"] == "not_found"
    assert answer.problem["request_id"] == "my-id.0001"
    assert answer.header("x-request-id") == "my-id.0001"


async def test_metrics_are_on_a_port_of_their_own(open_door: Opener, recorder: Recorder) -> None:
    async with open_door(recorder.port, gateway_metrics_port=0) as door:
        await talk(door.port, request() * 3 + request("POST", "/v1/cases"))
        metrics = door.server.lifespan.state["metrics"]
        url = f"http://127.0.0.1:{metrics[0].server_port}/metrics"
        text = (await asyncio.to_thread(urllib.request.urlopen, url)).read().decode()
        assert 'beam_gateway_requests_total{service="catalog",status="200"} 3.0' in text
        assert 'beam_gateway_requests_total{service="case",status="503"} 1.0' in text
        assert 'beam_gateway_request_seconds_bucket{le="+Inf"} 4.0' in text
        assert 'beam_gateway_service_seconds_count{service="catalog"} 3.0' in text
        [answer] = await talk(door.port, request(path="/metrics"))
        assert answer.status == 404


async def test_a_refusal_leaves_a_line_without_the_path(
    door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = request(path="/v1/payments/secret-110101?name=secret", X_Request_Id="my-id.0002")
    await talk(door.port, raw)
    await asyncio.sleep(0.4)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [line] = [line for line in lines if line.get("request_id") == "my-id.0002"]
    assert (line["code"], line["route"], line["status"]) == (
        "unavailable",
        "/v1/payments/{payment_id}",
        503,
    )
    assert "secret" not in json.dumps(lines)


CODES: dict[str, Any] = {"method": "POST", "path": "/v1/phone-codes", "body": b"{}"}


@pytest.mark.parametrize(
    ("scope", "path", "status"),
    [
        ("events", "/v1/me/consents", 403),
        ("internal", "/v1/me/consents", 403),
        ("", "/v1/me/consents", 403),
        ("profile", "/v1/events", 403),
        ("openid profile", "/v1/me/consents", 503),
        ("events", "/v1/events", 503),
        ("internal", "/v1/me", 503),
        ("", "/v1/items/a", 200),
    ],
)
async def test_a_token_opens_what_it_was_granted_for(
    shared_door: Door, shared_recorder: Recorder, keys: Keys, scope: str, path: str, status: int
) -> None:
    """The services behind are away: 503 says that the beam let it through."""
    token = keys.token(scope=scope)
    first, second = await talk(
        shared_door.port, request(path=path, Authorization=f"Bearer {token}") * 2
    )
    assert (first.status, second.status) == (status, status)
    if status == 403:
        assert first.problem["code"] == second.problem["code"] == "insufficient_scope"
        challenge = first.header("www-authenticate") or ""
        assert challenge.startswith('Bearer error="insufficient_scope", scope="')
        assert "openid" in challenge


async def test_the_challenge_for_a_bound_token_is_of_its_kind(
    shared_door: Door, keys: Keys
) -> None:
    token = keys.token(scope="events", cnf={"jkt": "x" * 43})
    raw = request(path="/v1/me/consents", Authorization=f"DPoP {token}")
    [answer] = await talk(shared_door.port, raw)
    assert (answer.header("www-authenticate") or "").startswith("DPoP error=")


async def test_a_method_that_an_address_does_not_take(
    shared_door: Door, shared_recorder: Recorder
) -> None:
    shared_recorder.seen.clear()
    answers = await talk(
        shared_door.port, request("DELETE", "/v1/cases/a") + request("PUT", "/v1/me") + request()
    )
    assert [a.status for a in answers] == [405, 405, 200]
    assert answers[0].problem["code"] == "method_not_allowed"
    assert answers[0].header("allow") == "GET, HEAD, OPTIONS, PATCH"
    assert answers[1].header("allow") == "GET, HEAD, OPTIONS"
    assert len(shared_recorder.seen) == 1


async def test_which_methods_an_address_takes(shared_door: Door, shared_recorder: Recorder) -> None:
    shared_recorder.seen.clear()
    known, unknown = await talk(
        shared_door.port, request("OPTIONS", "/v1/cases/a") + request("OPTIONS", "/v1/nothing")
    )
    assert (known.status, known.body) == (204, b"")
    assert known.header("allow") == "GET, HEAD, OPTIONS, PATCH"
    assert unknown.status == 404
    assert shared_recorder.seen == []


async def test_a_costly_route_has_a_tighter_limit(open_door: Opener, recorder: Recorder) -> None:
    async with open_door(recorder.port, gateway_rate=10, gateway_burst=20) as door:
        answers = await talk(door.port, request(**CODES) * 4 + request())
        assert [a.status for a in answers] == [503, 503, 503, 429, 200]
        assert answers[0].header("ratelimit") == '"codes";r=2;t=20'
        assert answers[3].header("ratelimit-policy") == '"codes";q=3;w=60'
        assert int(answers[3].header("retry-after") or 0) >= 1
        assert (answers[4].header("ratelimit") or "").startswith('"default";r=1')
