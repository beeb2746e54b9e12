"""What every answer carries, what a browser may do, and the line for a write by staff."""

import asyncio
import json
from typing import Any

import pytest

from gateway.settings import GatewaySettings

from .conftest import Door, Keys, Opener, Recorder, leave, request, talk

APP = "https://app.example"
STAFF: dict[str, Any] = {"subject": "stf_w01", "kind": "staff", "dept": "SAMR"}


@pytest.mark.parametrize("path", ["/v1/items/a", "/", "/nothing", "/v1/payments", "/v1/items/.."])
async def test_every_answer_has_the_security_headers(
    open_door: Opener, recorder: Recorder, path: str
) -> None:
    for issuer, wanted in ((APP, "max-age=31536000"), ("http://beam.test", None)):
        async with open_door(recorder.port, issuer=issuer) as door:
            [answer] = await talk(door.port, request(path=path))
            assert answer.header("x-content-type-options") == "nosniff"
            assert answer.header("strict-transport-security") == wanted


async def test_a_page_of_another_origin_may_call_only_if_it_is_named(
    open_door: Opener, recorder: Recorder
) -> None:
    async with open_door(recorder.port, gateway_cors_origins=(APP,)) as door:
        for path in ("/v1/items/a", "/v1/payments", "/health/live"):
            [answer] = await talk(door.port, request(path=path, Origin=APP))
            assert answer.header("access-control-allow-origin") == APP
            assert "etag" in (answer.header("access-control-expose-headers") or "")
            [answer] = await talk(door.port, request(path=path, Origin="https://evil.example"))
            assert answer.header("access-control-allow-origin") is None
            assert answer.header("vary") == "origin"


async def test_a_browser_asks_first(open_door: Opener, recorder: Recorder) -> None:
    async with open_door(recorder.port, gateway_cors_origins=(APP,)) as door:
        ask = {"Access_Control_Request_Method": "POST"}
        good = request("OPTIONS", "/v1/cases", Origin=APP, **ask)
        bad = request("OPTIONS", "/v1/cases", Origin="https://evil.example", **ask)
        first, second, third = await talk(door.port, good + bad + request())
        assert (first.status, second.status, third.status) == (204, 204, 200)
        assert "POST" in (first.header("access-control-allow-methods") or "")
        assert "idempotency-key" in (first.header("access-control-allow-headers") or "")
        assert second.header("access-control-allow-methods") is None
        assert len(recorder.seen) == 1


async def test_without_a_setting_nothing_is_allowed(door: Door, recorder: Recorder) -> None:
    raw = request("OPTIONS", Origin=APP, Access_Control_Request_Method="POST")
    [answer] = await talk(door.port, raw)
    assert (answer.status, answer.header("access-control-allow-origin")) == (204, None)
    assert "HEAD" in (answer.header("allow") or "")
    assert answer.header("access-control-allow-methods") is None
    assert recorder.seen == []


@pytest.mark.parametrize("origin", ["*", "app.example", "https://app.example/", "https://a b"])
def test_an_odd_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        GatewaySettings(gateway_cors_origins=(origin,))


async def test_a_step_up_answer_passes_through(door: Door, keys: Keys) -> None:
    token = f"Bearer {keys.token()}"
    [answer] = await talk(door.port, request(path="/v1/items/stepup", Authorization=token))
    assert answer.status == 401
    assert answer.header("www-authenticate") == (
        'Bearer error="insufficient_user_authentication", acr_values="L3"'
    )


async def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    await asyncio.sleep(0.4)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line.get("message") == "staff write"]


async def test_a_write_of_staff_leaves_a_line(
    door: Door, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    staff = f"Bearer {keys.token(**STAFF)}"
    person = f"Bearer {keys.token('acc_1')}"
    body = b'{"name":"secret"}'
    raw = request("POST", "/v1/items/A05/suspend?q=secret", body, Authorization=staff)
    raw += request("POST", "/v1/items/A05/suspend", body, Authorization=person)
    raw += request("GET", "/v1/items/A05", Authorization=staff)
    raw += request("POST", "/v1/cases/secret-1/accept", body, Authorization=staff)
    await talk(door.port, raw)
    first, second = await lines_of(capsys)
    assert (first["who"], first["dept"], first["status"]) == ("stf_w01", "SAMR", 200)
    assert (first["method"], first["route"]) == ("POST", "/v1/items/{code}/suspend")
    assert (second["route"], second["status"]) == ("/v1/cases/{case_id}/accept", 503)
    assert len(first["request_id"]) == 32
    assert "secret" not in json.dumps([first, second])


async def test_a_write_whose_answer_nobody_waits_for_leaves_a_line(
    door: Door, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", door.port)
    staff = f"Bearer {keys.token(**STAFF)}"
    writer.write(request("POST", "/v1/items/slow", b"{}", Authorization=staff))
    await asyncio.sleep(0.2)
    leave(writer)
    [line] = await lines_of(capsys)
    assert line["status"] == 0
