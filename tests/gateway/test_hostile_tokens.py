"""Every hostile token is a 401 at the gateway too, and no request goes on to a service."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..kit.test_tokens import HOSTILE, KEY, claims, made
from .conftest import ISSUER, Door, Keys, Recorder, gateway_of, recording, request, talk

PATH = "/v1/cases"
NO_FIELD = {"a null inside", "not ASCII"}
"""No value of a field of HTTP: refused before anybody looks for a token in it."""


@pytest.fixture(scope="module")
async def services() -> AsyncIterator[Recorder]:
    async with recording() as found:
        yield found


@pytest.fixture(scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory, services: Recorder) -> AsyncIterator[Door]:
    issuer = Keys(Path(tmp_path_factory.mktemp("hostile")))
    issuer.file.write_text(json.dumps({"keys": [KEY.public_jwk]}))
    url = f"http://127.0.0.1:{services.port}"
    async with gateway_of(issuer, services.port, case_url=url) as found:
        yield found


async def test_a_good_one_goes_through(gate: Door, services: Recorder) -> None:
    sent = {"authorization": f"Bearer {made(claims(scope='openid'))}"}
    answers = await talk(gate.port, request(path=PATH, **sent))
    assert answers[0].status != 401, answers[0].body
    assert claims()["iss"] == ISSUER


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_one_does_not(gate: Door, services: Recorder, name: str) -> None:
    token = HOSTILE[name]()
    before = len(services.seen)
    field = f"Authorization: Bearer {token}\r\n".encode("latin-1")
    raw = f"GET {PATH} HTTP/1.1\r\nHost: beam.test\r\n".encode() + field + b"\r\n"
    answers = await talk(gate.port, raw)
    assert len(answers) == 1
    assert answers[0].status in ((400, 401) if name in NO_FIELD else (401,)), answers[0].body
    assert answers[0].problem["code"] in ("bad_token", "bad_request")
    assert len(token) < 20 or token not in answers[0].body.decode()
    assert len(services.seen) == before
