"""What goes through, goes through as it should."""

import asyncio
import json

import pytest

from .conftest import Door, Recorder, read_answer, request, talk


async def test_a_request_reaches_its_service_and_the_answer_comes_back(
    door: Door, recorder: Recorder
) -> None:
    [answer] = await talk(door.port, request("POST", "/v1/items/a?q=1&r=%E9%A4%90", b"hello"))
    assert answer.status == 200
    assert json.loads(answer.body) == {"n": 5, "path": "/v1/items/a"}
    [seen] = recorder.seen
    assert (seen.method, seen.target) == ("POST", b"/v1/items/a?q=1&r=%E9%A4%90")
    assert seen.body == b"hello"
    assert seen.header("x-request-id") == [answer.header("x-request-id")]
    assert seen.header("x-forwarded-for") == ["127.0.0.1"]
    assert seen.header("host") == [f"127.0.0.1:{recorder.port}"]


async def test_a_head_in_single_bytes_is_read(door: Door, recorder: Recorder) -> None:
    raw = request("POST", "/v1/items/a", b"x" * 10)
    [answer] = await talk(door.port, *(raw[i : i + 1] for i in range(len(raw))))
    assert answer.status == 200
    assert recorder.seen[0].body == b"x" * 10


async def test_internal_headers_of_a_client_do_not_pass(door: Door, recorder: Recorder) -> None:
    await talk(
        door.port,
        request(
            X_Forwarded_For="6.6.6.6",
            Forwarded="for=6.6.6.6",
            X_Real_IP="6.6.6.6",
            X_Beam_Subject="root",
            X_HTTP_Method_Override="DELETE",
            X_Request_Id="bad id!",
            traceparent="00-zz",
            Connection="keep-alive, X-Private",
            X_Private="1",
            TE="trailers",
            Accept="text/plain",
        ),
    )
    [seen] = recorder.seen
    names = {name for name, _ in seen.headers}
    gone = {b"x-real-ip", b"x-beam-subject", b"x-http-method-override", b"x-private", b"te"}
    assert not names & gone
    assert b"6.6.6.6" not in b"".join(value for _, value in seen.headers)
    assert seen.header("accept") == ["text/plain"]
    assert seen.header("x-request-id") != ["bad id!"]
    assert len(seen.header("traceparent")[0]) == 55


async def test_a_name_with_an_underscore_does_not_pass(door: Door, recorder: Recorder) -> None:
    raw = b"GET /v1/items/a HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n"
    await talk(door.port, raw)
    assert not recorder.seen[0].header("x_forwarded_for")


async def test_good_ids_are_kept(door: Door, recorder: Recorder) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    sent = request(X_Request_Id="my-id.0001", traceparent=trace, tracestate="a=1")
    [answer] = await talk(door.port, sent)
    assert answer.header("x-request-id") == "my-id.0001"
    assert recorder.seen[0].header("x-request-id") == ["my-id.0001"]
    assert recorder.seen[0].header("traceparent") == [trace]
    assert recorder.seen[0].header("tracestate") == ["a=1"]


async def test_pipelined_requests_are_answered_in_order(door: Door, recorder: Recorder) -> None:
    raw = (
        request(path="/v1/items/slow")
        + request(path="/v1/nothing")
        + request("POST", "/v1/items/b", b"12345")
        + request(path="/health/live")
        + request(path="/v1/items/c")
    )
    answers = await talk(door.port, raw)
    assert [a.status for a in answers] == [200, 404, 200, 200, 200]
    assert [s.target.rsplit(b"/", 1)[1] for s in recorder.seen] == [b"slow", b"b", b"c"]
    assert json.loads(answers[2].body)["n"] == 5


async def test_hundreds_of_pipelined_requests(door: Door, recorder: Recorder) -> None:
    raw = b"".join(request(path=f"/v1/nothing/{i}") for i in range(150))
    raw += b"".join(request(path=f"/v1/items/{i}x") for i in range(150))
    answers = await talk(door.port, raw)
    assert [a.status for a in answers[:150]] == [404] * 150
    ids = [json.loads(a.body)["path"] for a in answers if a.status == 200]
    assert ids == [f"/v1/items/{i}x" for i in range(150)]
    assert len(answers) == 300


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(door: Door, status: int) -> None:
    answers = await talk(door.port, request(path=f"/v1/items/{status}") * 2)
    assert [a.status for a in answers] == [status] * 2
    assert answers[0].header("transfer-encoding") is None


async def test_head(door: Door) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    for path in ("/v1/items/a", "/v1/items/chunks", "/v1/nothing", "/v1/cases/x", "/docs/errors"):
        writer.write(request("HEAD", path))
        answer = await read_answer(reader, head_only=True)
        assert answer.status == {"/v1/nothing": 404, "/v1/cases/x": 503}.get(path, 200)
    writer.write(request())
    assert (await read_answer(reader)).status == 200
    writer.close()


async def test_an_answer_in_chunks(door: Door) -> None:
    [answer] = await talk(door.port, request(path="/v1/items/chunks"))
    assert answer.header("transfer-encoding") == "chunked"
    assert answer.body == b"".join(b"piece %d;" % i for i in range(5))


async def test_an_old_client_gets_no_chunks_and_the_end_of_the_connection(door: Door) -> None:
    raw = b"GET /v1/items/chunks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    [answer] = await talk(door.port, raw)
    assert answer.header("transfer-encoding") is None
    assert answer.header("connection") == "close"
    assert answer.body.endswith(b"piece 4;")


async def test_expect_continue(door: Door, recorder: Recorder) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    raw = request("POST", "/v1/items/a", b"x" * 9, Expect="100-continue")
    writer.write(raw[:-9])
    assert (await read_answer(reader)).status == 100
    writer.write(raw[-9:])
    assert (await read_answer(reader)).status == 200
    assert recorder.seen[0].body == b"x" * 9
    assert not recorder.seen[0].header("expect")
    writer.write(request("POST", "/v1/items/a", Content_Length="99999999", Expect="100-continue"))
    assert (await read_answer(reader)).status == 413
    writer.close()


async def test_a_client_that_has_said_all_still_gets_its_answer(door: Door) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(request(path="/v1/items/slow"))
    writer.write_eof()
    assert (await read_answer(reader)).status == 200
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("POST", "/v1/nothing", 404),
        ("POST", "/v1/items/..", 400),
        ("POST", "/v1/cases", 503),
    ],
    ids=["page of our own", "no address", "refused", "service away"],
)
async def test_who_is_answered_early_can_send_the_rest_and_read_the_answer(
    door: Door, method: str, path: str, status: int
) -> None:
    """A connection that is closed under a body that still comes is reset, and a reset takes the
    answer from a client that has not read it yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(request(method, path, Content_Length="30000"))
    answer = await read_answer(reader)
    assert (answer.status, answer.header("connection")) == (status, "close")
    for _ in range(30):
        writer.write(b"x" * 1000)
        await writer.drain()
        await asyncio.sleep(0.005)
    assert await reader.read() == b"", "the end, and no reset"
    writer.close()
