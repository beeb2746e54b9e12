"""Hostile and ambiguous messages: each with the answer it gets and what the service may see.

The service behind the gateway records what reaches it: never more requests than were sent, and
never one that hides inside another.
"""

import asyncio
from dataclasses import dataclass

import pytest

from gateway.protocol import BeamProtocol

from .conftest import Door, Opener, Recorder, leave, request, talk

HOST = b"Host: beam.test\r\n"
GET = b"GET /v1/items/a HTTP/1.1\r\n" + HOST
POST = b"POST /v1/items/a HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
EVIL = b"GET /v1/items/evil HTTP/1.1\r\nHost: beam.test\r\n\r\n"


@dataclass(frozen=True)
class Case:
    name: str
    raw: bytes
    statuses: tuple[int, ...]
    code: str | None = None
    seen: int = 0
    """How many requests the service gets."""


CASES = [
    # Where a message ends
    Case("TE and CL", CHUNKED + b"Content-Length: 6\r\n\r\n0\r\n\r\n" + EVIL, (400,),
         "bad_request"),
    Case("CL and TE", POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
         (400,), "bad_request"),
    Case("CL twice, same", POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" + EVIL,
         (400,), "bad_request"),
    Case("CL twice, other", POST + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello" + EVIL,
         (400,), "bad_request"),
    Case("CL as a list", POST + b"Content-Length: 5, 5\r\n\r\nhello", (400,), "bad_request"),
    Case("CL with a sign", POST + b"Content-Length: +5\r\n\r\nhello", (400,), "bad_request"),
    Case("CL negative", POST + b"Content-Length: -1\r\n\r\n", (400,), "bad_request"),
    Case("CL hexadecimal", POST + b"Content-Length: 0x5\r\n\r\nhello", (400,), "bad_request"),
    Case("CL empty", POST + b"Content-Length: \r\n\r\n", (400,), "bad_request"),
    Case("CL overflow", POST + b"Content-Length: 99999999999999999999999\r\n\r\n", (400,),
         "bad_request"),
    Case("TE twice", CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", (400,),
         "bad_request"),
    Case("TE chunked twice", CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,),
         "bad_request"),
    Case("TE list", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", (400,),
         "bad_request"),
    Case("TE unknown", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", (400,),
         "bad_request"),
    Case("TE with tab", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", (400,),
         "bad_request"),
    Case("TE in HTTP/1.0", b"POST /v1/items/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"0\r\n\r\n" + EVIL, (400,), "bad_request"),
    Case("chunk size no number", CHUNKED + b"\r\nxyz\r\nabc\r\n0\r\n\r\n", (400,), "bad_request"),
    Case("chunk size 0x", CHUNKED + b"\r\n0x3\r\nabc\r\n0\r\n\r\n", (400,), "bad_request"),
    Case("chunk size negative", CHUNKED + b"\r\n-3\r\nabc\r\n0\r\n\r\n", (400,), "bad_request"),
    Case("chunk size overflow", CHUNKED + b"\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", (400,),
         "bad_request"),
    Case("chunk too short", CHUNKED + b"\r\n2\r\nabc\r\n0\r\n\r\n", (400,), "bad_request"),
    Case("chunk with bare LF", CHUNKED + b"\r\n3\nabc\n0\n\n", (400,), "bad_request"),
    Case("chunk extension with bare LF", CHUNKED + b"\r\n3;a\nb\r\nabc\r\n0\r\n\r\n", (400,),
         "bad_request"),
    Case("chunk extension", CHUNKED + b"\r\n3;a=b\r\nabc\r\n0\r\n\r\n", (200,), None, 1),
    Case("chunk extension of 2 MB", CHUNKED + b"\r\n3;" + b"a" * 2_000_000 + b"\r\nabc\r\n0\r\n"
         b"\r\n", (400,), "bad_request", -1),
    Case("chunked, one bad in the middle", GET + b"\r\n" + CHUNKED + b"\r\n3\r\nabc\r\nxyz\r\n"
         + EVIL, (200, 400), "bad_request", -1),
    Case("trailer", CHUNKED + b"\r\n3\r\nabc\r\n0\r\nX-Evil: 1\r\n\r\n", (200,), None, 1),
    Case("request in a body", POST + b"Content-Length: %d\r\n\r\n" % len(EVIL) + EVIL, (200,),
         None, 1),
    Case("request behind close", GET + b"Connection: close\r\n\r\n" + EVIL, (200,), None, 1),
    # Lines and fields
    Case("obs-fold", GET + b"X-A: a\r\n b\r\n\r\n", (400,), "bad_request"),
    Case("bare LF everywhere", b"GET /v1/items/a HTTP/1.1\nHost: a\n\n", (400,), "bad_request"),
    Case("bare LF after a field", b"GET /v1/items/a HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", (400,),
         "bad_request"),
    Case("bare CR in a field", GET + b"X: a\rb\r\n\r\n", (400,), "bad_request"),
    Case("space before colon", GET + b"X-A : a\r\n\r\n", (400,), "bad_request"),
    Case("space before first field", b"GET /v1/items/a HTTP/1.1\r\n Host: a\r\n\r\n", (400,),
         "bad_request"),
    Case("no colon", GET + b"foo\r\n\r\n", (400,), "bad_request"),
    Case("no name", GET + b": foo\r\n\r\n", (400,), "bad_request"),
    Case("NUL in a value", GET + b"X-A: a\0b\r\n\r\n", (400,), "bad_request"),
    Case("NUL in a name", GET + b"X\0A: a\r\n\r\n", (400,), "bad_request"),
    Case("control in a value", GET + b"X-A: a\x01b\r\n\r\n", (400,), "bad_request"),
    Case("DEL in a value", GET + b"X-A: a\x7fb\r\n\r\n", (400,), "bad_request"),
    Case("no Host", b"GET /v1/items/a HTTP/1.1\r\n\r\n", (400,), "bad_host"),
    Case("Host twice", GET + b"Host: other.test\r\n\r\n", (400,), "bad_host"),
    Case("Host with a path", b"GET /v1/items/a HTTP/1.1\r\nHost: a/b\r\n\r\n", (400,), "bad_host"),
    Case("Host with a user", b"GET /v1/items/a HTTP/1.1\r\nHost: a@b\r\n\r\n", (400,), "bad_host"),
    Case("Host empty", b"GET /v1/items/a HTTP/1.1\r\nHost:\r\n\r\n", (400,), "bad_host"),
    Case("Authorization twice", GET + b"Authorization: Basic a\r\nAuthorization: Basic b\r\n\r\n",
         (401,), "bad_token"),
    Case("Expect unknown", GET + b"Expect: 200-ok\r\n\r\n", (417,), "expectation_failed"),
    Case("head of 100 kB in one field", GET + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n", (431,),
         "head_too_large"),
    Case("head of 100 kB in many fields", GET + b"X-Abc: 1\r\n" * 11_000 + b"\r\n", (431,),
         "head_too_large"),
    Case("head without an end", GET + b"X-A: " + b"a" * 100_000, (431,), "head_too_large"),
    Case("101 fields", GET + b"X-A: 1\r\n" * 100 + b"\r\n", (431,), "head_too_large"),
    Case("many trailers", CHUNKED + b"\r\n0\r\n" + b"X-A: aaaaaaaaaaaaa\r\n" * 1000 + b"\r\n",
         (431,), "head_too_large"),
    Case("tiny chunks", CHUNKED + b"\r\n" + b"1;aaaaaaaaaaaaaaaa\r\na\r\n" * 40_000 + b"0\r\n\r\n",
         (400,), "bad_request", -1),
    # Targets
    Case("10,000 parameters", request(path="/v1/items/a?" + "a=1&" * 10_000), (414,),
         "target_too_long"),
    Case("7 kB of parameters", request(path="/v1/items/a?" + "a=1&" * 1_700), (200,), None, 1),
    Case("absolute form", b"GET http://beam.test/v1/items/a?b HTTP/1.1\r\n" + HOST + b"\r\n",
         (200,), None, 1),
    Case("absolute form, other host", b"GET http://evil/v1/items/a HTTP/1.1\r\n" + HOST + b"\r\n",
         (400,), "bad_host"),
    Case("absolute form, other scheme", b"GET ftp://beam.test/v1/items HTTP/1.1\r\n" + HOST
         + b"\r\n", (400,), "bad_target"),
    Case("authority form", b"GET beam.test:80 HTTP/1.1\r\n" + HOST + b"\r\n", (400,),
         "bad_request"),
    Case("asterisk form", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", (400,), "bad_target"),
    Case("dot segments", request(path="/v1/items/../../internal/x"), (400,), "bad_target"),
    Case("dot segment at the end", request(path="/v1/items/.."), (400,), "bad_target"),
    Case("escaped dots", request(path="/v1/items/%2e%2e/x"), (400,), "bad_target"),
    Case("escaped slash", request(path="/v1/items/..%2finternal"), (400,), "bad_target"),
    Case("escaped slash, upper case", request(path="/v1/items/a%2Fb"), (400,), "bad_target"),
    Case("escaped backslash", request(path="/v1/items/..%5cinternal"), (400,), "bad_target"),
    Case("escaped twice", request(path="/v1/items/%252e%252e/x"), (400,), "bad_target"),
    Case("dots with a parameter", request(path="/v1/items/..;a=1/x"), (400,), "bad_target"),
    Case("two slashes", request(path="/v1//items"), (400,), "bad_target"),
    Case("two slashes in front", request(path="//evil.test/v1/items"), (400,), "bad_target"),
    Case("backslash", request(path="/v1\\items"), (400,), "bad_target"),
    Case("escaped NUL", request(path="/v1/items/a%00b"), (400,), "bad_target"),
    Case("escaped line end", request(path="/v1/items/a%0d%0aX:b"), (400,), "bad_target"),
    Case("broken escape", request(path="/v1/items/%zz"), (400,), "bad_target"),
    Case("not UTF-8", request(path="/v1/items/%ff"), (400,), "bad_target"),
    Case("fragment", request(path="/v1/items/a#b"), (400,), "bad_target"),
    Case("NUL in the target", b"GET /v1/items/\0 HTTP/1.1\r\n" + HOST + b"\r\n", (400,),
         "bad_request"),
    Case("raw UTF-8", "GET /v1/items/餐 HTTP/1.1\r\n".encode() + HOST + b"\r\n", (400,),
         "bad_request"),
    Case("space in the target", b"GET /v1/items/a b HTTP/1.1\r\n" + HOST + b"\r\n", (400,),
         "bad_request"),
    Case("escaped spelling of a prefix", request(path="/v1/%69tems/a"), (404,), "not_found"),
    Case("other case", request(path="/V1/items"), (404,), "not_found"),
    Case("longer word", request(path="/v1/itemsx"), (404,), "not_found"),
    Case("internal", request(path="/internal/v1/cases/x"), (404,), "not_found"),
    Case("metrics", request(path="/metrics"), (404,), "not_found"),
    Case("simulator", request(path="/_sim/x"), (404,), "not_found"),
    Case("below an exact path", request(path="/v1/me/other"), (404,), "not_found"),
    # Methods and versions
    Case("method unknown", b"FOO /v1/items/a HTTP/1.1\r\n" + HOST + b"\r\n", (400,), "bad_request"),
    Case("method in lower case", b"get /v1/items/a HTTP/1.1\r\n" + HOST + b"\r\n", (400,),
         "bad_request"),
    Case("TRACE", request("TRACE"), (405,), "method_not_allowed"),
    Case("PROPFIND", request("PROPFIND"), (405,), "method_not_allowed"),
    Case("CONNECT", b"CONNECT beam.test:80 HTTP/1.1\r\n" + HOST + b"\r\n" + EVIL, (405,),
         "method_not_allowed"),
    Case("WebSocket", GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + EVIL, (400,),
         "upgrade_refused"),
    Case("h2c is not taken up", GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
         b"HTTP2-Settings: AAMAAABk\r\n\r\n" + request(path="/v1/items/b"), (200, 200), None, 2),
    Case("HTTP/0.9", b"GET /v1/items/a HTTP/0.9\r\n\r\n", (505,), "version_not_supported"),
    Case("HTTP/0.9 without a version", b"GET /v1/items/a\r\n\r\n", (505,),
         "version_not_supported"),
    Case("HTTP/1.2", b"GET /v1/items/a HTTP/1.2\r\n" + HOST + b"\r\n", (400,), "bad_request"),
    Case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,), "bad_request"),
    Case("HTTP/1.0 kept alive", b"GET /v1/items/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
         + EVIL, (200,), None, 1),
    Case("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400,), "bad_request"),
    Case("body too large, told", POST + b"Content-Length: 2000000\r\n\r\n", (413,), "too_large"),
    Case("body too large, in chunks", CHUNKED + b"\r\n" + (b"8000\r\n" + b"a" * 0x8000 + b"\r\n")
         * 40 + b"0\r\n\r\n", (413,), "too_large", -1),
    Case("empty lines in front", b"\r\n\r\n" + GET + b"\r\n", (200,), None, 1),
    Case("good, then garbage", GET + b"\r\n\0\0\0\r\n\r\n" + EVIL, (200, 400), "bad_request", 1),
    Case("good, then TE and CL", GET + b"\r\n" + CHUNKED + b"Content-Length: 6\r\n\r\n0\r\n\r\nX"
         + EVIL, (200, 400), "bad_request", 1),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_hostile(case: Case, shared_door: Door, shared_recorder: Recorder) -> None:
    shared_recorder.seen.clear()
    stay = case.statuses[-1] == 431 and case.name == "head without an end"
    answers = await talk(shared_door.port, case.raw, stay=stay)
    assert tuple(a.status for a in answers) == case.statuses
    if case.code is not None:
        problem = answers[-1].problem
        assert problem["code"] == case.code
        assert set(problem) >= {"type", "title", "status", "detail", "instance", "request_id"}
        assert answers[-1].header("x-request-id") == problem["request_id"]
    if case.seen >= 0:
        assert len(shared_recorder.seen) == case.seen
    assert not [s for s in shared_recorder.seen if b"evil" in s.target or s.header("x-evil")]


async def test_after_all_that_the_door_still_works(
    shared_door: Door, shared_recorder: Recorder
) -> None:
    [answer] = await talk(shared_door.port, request())
    assert answer.status == 200


async def test_smuggling_never_makes_more_requests_than_were_sent(
    shared_door: Door, shared_recorder: Recorder
) -> None:
    """All splits of ambiguous messages over packets: the recorder sees at most the honest one
    that follows on a connection of its own."""
    raw = CHUNKED + b"Content-Length: 4\r\n\r\n5c\r\n" + EVIL + b"\r\n0\r\n\r\n"
    for cut in range(1, len(raw), 7):
        shared_recorder.seen.clear()
        answers = await talk(shared_door.port, raw[:cut], raw[cut:])
        assert {a.status for a in answers} <= {400}
        assert shared_recorder.seen == []


async def test_many_offers_of_h2c_in_one_packet(
    shared_door: Door, shared_recorder: Recorder
) -> None:
    raw = GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    answers = await talk(shared_door.port, raw * 1500)
    assert [a.status for a in answers] == [200] * 1500


@pytest.mark.parametrize(
    "raw", [b"", b"GET /v1/it", GET + b"X-A: ", b"\r\n"], ids=["nothing", "line", "field", "CRLF"]
)
async def test_a_slow_head_is_cut_off(open_door: Opener, recorder: Recorder, raw: bytes) -> None:
    async with open_door(recorder.port, gateway_head_seconds=0.3) as door:
        answers = await talk(door.port, raw, stay=True)
        if raw.strip():
            assert answers[0].problem["code"] == "request_timeout"
        assert recorder.seen == []


async def test_a_dripping_head_is_cut_off(open_door: Opener, recorder: Recorder) -> None:
    async with open_door(recorder.port, gateway_head_seconds=0.4) as door:
        drops = [GET + b"X-A: "] + [b"a"] * 100
        answers = await talk(door.port, *drops, pause=0.02, stay=True)
        assert answers[0].status == 408
        assert recorder.seen == []


async def test_a_dripping_body_is_cut_off(open_door: Opener, recorder: Recorder) -> None:
    async with open_door(recorder.port, gateway_body_seconds=0.4) as door:
        drops = [POST + b"Content-Length: 1000\r\n\r\n"] + [b"a"] * 100
        answers = await talk(door.port, *drops, pause=0.02, stay=True)
        assert answers[0].problem["code"] == "request_timeout"


async def test_an_idle_connection_is_closed(open_door: Opener, recorder: Recorder) -> None:
    async with open_door(recorder.port, gateway_idle_seconds=0.3) as door:
        answers = await talk(door.port, request(), stay=True)
        assert [a.status for a in answers] == [200]


async def test_one_connection_that_cannot_be_ended_keeps_no_other_open(
    open_door: Opener, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expire = BeamProtocol.expire
    failed: list[BeamProtocol] = []

    def fail_once(client: BeamProtocol) -> None:
        if not failed:
            failed.append(client)
            raise RuntimeError
        expire(client)

    monkeypatch.setattr(BeamProtocol, "expire", fail_once)
    async with open_door(recorder.port, gateway_idle_seconds=0.3) as door:
        for _ in range(3):
            answers = await talk(door.port, request(), stay=True)
            assert [a.status for a in answers] == [200]
    assert failed


async def test_a_client_that_does_not_read_is_cut_off(
    open_door: Opener, recorder: Recorder
) -> None:
    async with open_door(recorder.port, gateway_write_seconds=0.4) as door:
        _, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
        writer.write(request(path="/v1/endless"))
        async with asyncio.timeout(15):
            while not door.beam.clients:
                await asyncio.sleep(0.01)
            while door.beam.clients:
                await asyncio.sleep(0.05)
        writer.close()


async def test_a_client_that_leaves_in_its_body_leaves_nothing_behind(
    open_door: Opener, recorder: Recorder
) -> None:
    async with open_door(recorder.port) as door:
        for raw in (POST + b"Content-Length: 1000\r\n\r\nhalf", CHUNKED + b"\r\n5\r\nhal"):
            _, writer = await asyncio.open_connection("127.0.0.1", door.port)
            writer.write(raw)
            async with asyncio.timeout(15):
                while not any(client.reading for client in door.beam.clients):
                    await asyncio.sleep(0.01)
                leave(writer)
                while door.beam.clients:
                    await asyncio.sleep(0.01)
        pool = door.beam.pools["catalog"]
        assert (pool.asked, len(pool.waiting)) == (0, 0)
        [answer] = await talk(door.port, request())
        assert answer.status == 200
