"""A service that is away, slow, or breaks off; and large bodies both ways."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway import silence
from kit.views import LARGE

from .conftest import Door, Opener, Recorder, read_answer, recording, request, talk

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@contextlib.asynccontextmanager
async def scripted(serve: Serve) -> AsyncIterator[int]:
    """A service that speaks raw bytes; gives its port."""
    ended: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ended.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in ended:
            task.cancel()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_a_service_that_is_away(door: Door) -> None:
    [answer] = await talk(door.port, request("POST", "/v1/payments/p/attempts", b"{}"))
    assert answer.status == 503
    assert answer.problem["service"] == "payment"
    assert answer.header("retry-after") == "5"
    assert "缴费" in answer.problem["detail"]
    [answer] = await talk(door.port, request(path="/v1/payments", Accept_Language="en-GB, zh"))
    assert answer.header("content-language") == "en"
    assert "Payment" in answer.problem["detail"]


async def test_who_opens_a_page_is_told_by_a_page(door: Door) -> None:
    for path in ("/oauth2/login?return_to=x", "/oauth2/authorize?client_id=portal"):
        [answer] = await talk(door.port, request(path=path))
        assert answer.status == 503
        assert answer.header("content-type") == "text/html; charset=utf-8"
        assert answer.header("cache-control") == "no-store"
        assert "default-src 'none'" in answer.header("content-security-policy")
        assert 'lang="zh-CN"' in answer.body.decode()
        assert "统一身份" in answer.body.decode()
        assert answer.header("x-request-id") in answer.body.decode()
    english = request("POST", "/oauth2/login", b"a=b", Accept_Language="en")
    [answer] = await talk(door.port, english)
    assert 'lang="en"' in answer.body.decode()
    assert "call 12345" in answer.body.decode()
    kept = request(path="/oauth2/login", Cookie="a=b; beam_lang=en; beam_text=large")
    for _ in range(2):  # the second time from what is remembered of the same head
        [answer] = await talk(door.port, kept)
        assert 'lang="en"' in answer.body.decode()
        assert LARGE in answer.body.decode()
    [answer] = await talk(door.port, request("POST", "/oauth2/token", b"a=b"))
    assert answer.problem["service"] == "identity"


async def test_a_service_that_is_killed_and_comes_back(open_door: Opener) -> None:
    async with recording() as first:
        port = first.port
        async with open_door(port) as door:
            assert [a.status for a in await talk(door.port, request())] == [200]
            await first.stop()
            assert [a.status for a in await talk(door.port, request())] == [503]
            async with recording(port) as second:
                assert [a.status for a in await talk(door.port, request())] == [200]
                assert len(second.seen) == 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"", 502),
        (b"HTTP/1.1 200 OK\r\ncontent-le", 502),
        (b"garbage\r\n\r\n", 502),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", 502),
    ],
    ids=["nothing", "half a head", "garbage", "101", "two lengths"],
)
async def test_a_service_that_breaks_off(open_door: Opener, answer: bytes, status: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(answer)
        await writer.drain()

    async with scripted(serve) as port, open_door(port) as door:
        [got] = await talk(door.port, request())
        assert got.status == status
        assert got.problem["code"] == "bad_gateway"


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
async def test_half_an_answer_is_never_passed_off_as_whole(open_door: Opener, start: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(start)
        await writer.drain()
        await asyncio.sleep(0.05)

    async with scripted(serve) as port, open_door(port) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request())
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await read_answer(reader)
        writer.close()


async def test_an_answer_that_ends_with_the_connection(open_door: Opener) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        await writer.drain()

    async with scripted(serve) as port, open_door(port) as door:
        [answer] = await talk(door.port, request())
        assert (answer.status, answer.body) == (200, b"all of it")
        assert answer.header("transfer-encoding") == "chunked"


async def test_interim_answers_are_not_taken_for_the_answer(open_door: Opener) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await head_of(reader)
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + OK)

    async with scripted(serve) as port, open_door(port) as door:
        answers = await talk(door.port, request() * 2)
        assert [a.body for a in answers] == [b"ok", b"ok"]
        assert answers[0].header("link") is None


async def test_bytes_that_nobody_asked_for_answer_nobody(open_door: Opener) -> None:
    """A service (or one that got between) sends two answers to one request: the second must not
    become the answer to the next request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
        writer.write(OK + evil)
        await asyncio.sleep(0.05)
        writer.write(evil)
        await head_of(reader)

    async with scripted(serve) as port, open_door(port) as door:
        for _ in range(5):
            [answer] = await talk(door.port, request())
            assert answer.body == b"ok"


def closing_after_one(seen: list[bytes]) -> Serve:
    """Answers one request per connection, says that it keeps it, and hangs up on the next."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await head_of(reader))
        writer.write(OK)
        await head_of(reader)

    return serve


async def test_a_stale_connection_is_tried_again_where_that_is_safe(open_door: Opener) -> None:
    seen: list[bytes] = []
    async with scripted(closing_after_one(seen)) as port, open_door(port) as door:
        for _ in range(3):
            [answer] = await talk(door.port, request())
            assert answer.body == b"ok"
        assert len(seen) == 3


async def test_a_post_is_never_sent_twice(open_door: Opener) -> None:
    seen: list[bytes] = []
    async with scripted(closing_after_one(seen)) as port, open_door(port) as door:
        await talk(door.port, request())
        [answer] = await talk(door.port, request("POST", "/v1/items/a", b"{}"))
        assert answer.problem["code"] == "bad_gateway"
        assert len(seen) == 1


async def test_a_slow_service(open_door: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await asyncio.sleep(30)

    async with scripted(serve) as port, open_door(port) as door:
        monkeypatch.setattr(door.beam, "patience", lambda x: 0.2)
        [answer] = await talk(door.port, request())
        assert answer.status == 504
        assert answer.problem["code"] == "timeout"
        assert "Idempotency-Key" in answer.problem["detail"]


async def test_a_service_that_says_nothing_any_more(
    open_door: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first who waits finds it out; who comes later is told at once, until it speaks again."""
    monkeypatch.setattr(silence, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(silence, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(silence, "ASK_SECONDS", 0.2)
    speaks = asyncio.Event()

    async def frozen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await head_of(reader)
            await speaks.wait()
            writer.write(OK)

    async with scripted(frozen) as port, open_door(port) as door:
        first = asyncio.create_task(talk(door.port, request()))
        pool = door.beam.pools["catalog"]
        async with asyncio.timeout(10):
            while not pool.silent:
                await asyncio.sleep(0.02)
        assert [a.status for a in await talk(door.port, request())] == [503]
        assert not first.done()
        speaks.set()
        assert [a.status for a in await first] == [200]
        async with asyncio.timeout(10):
            while pool.silent:
                await asyncio.sleep(0.02)
        assert [a.status for a in await talk(door.port, request())] == [200]


async def test_a_service_that_can_not_be_reached_in_time(open_door: Opener) -> None:
    # A listener whose queue is full answers no handshake.
    async with recording() as recorder, open_door(recorder.port) as door:
        pool = door.beam.pools["catalog"]
        pool.host, pool.connect_seconds = "10.255.255.1", 0.2
        [answer] = await talk(door.port, request())
        assert answer.problem["code"] in ("connect_timeout", "unavailable")


async def test_requests_wait_for_a_free_connection(open_door: Opener, recorder: Recorder) -> None:
    patient = {"gateway_upstream_connections": 2, "gateway_queue_seconds": 10.0}
    async with open_door(recorder.port, **patient) as door:
        raw = request(path="/v1/items/slow")
        answers = await asyncio.gather(*(talk(door.port, raw) for _ in range(6)))
        assert [a.status for [a] in answers] == [200] * 6
        assert len(door.beam.pools["catalog"].connections) <= 2


async def test_a_client_that_leaves_takes_its_request_along(open_door: Opener) -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()

    async with scripted(serve) as port, open_door(port) as door:
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request())
        await asyncio.sleep(0.1)
        reset = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        writer.transport.abort()
        async with asyncio.timeout(5):
            await gone.wait()


async def test_large_bodies_pass_both_ways(open_door: Opener) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await head_of(reader)).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length)
        while length:
            data = await reader.read(65536)
            length -= len(data)
            writer.write(data)
            await writer.drain()

    body = bytes(range(256)) * 4 * 1000
    async with scripted(echo) as port, open_door(port) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        raw = request("POST", "/v1/items/a", body)
        sending = asyncio.create_task(_send(writer, raw))
        answer = await read_answer(reader)
        await sending
        assert answer.body == body
        writer.close()


async def _send(writer: asyncio.StreamWriter, raw: bytes) -> None:
    for i in range(0, len(raw), 50_000):
        writer.write(raw[i : i + 50_000])
        await writer.drain()


async def test_a_service_that_does_not_read_holds_the_client_back(open_door: Opener) -> None:
    """The gateway keeps no more than a few buffers of a body that the service will not take."""
    go = asyncio.Event()
    taken = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await head_of(reader)
        await go.wait()
        while taken < 19_000_000:
            taken += len(await reader.read(65536))
        writer.write(OK)

    async with scripted(serve) as port, open_door(port, case_url=f"http://127.0.0.1:{port}") as d:
        reader, writer = await asyncio.open_connection("127.0.0.1", d.port)
        raw = request("PUT", "/v1/cases/a/materials/b", b"x" * 19_000_000)
        sending = asyncio.create_task(_send(writer, raw))
        await asyncio.sleep(0.5)
        assert not sending.done()
        [client] = d.beam.clients
        [connection] = d.beam.pools["case"].connections
        assert client.flow.read_paused
        assert connection.transport.get_write_buffer_size() < 2_000_000
        go.set()
        assert (await read_answer(reader)).body == b"ok"
        await sending
        writer.close()


async def test_a_client_that_does_not_read_holds_the_service_back(
    open_door: Opener, recorder: Recorder
) -> None:
    async with open_door(recorder.port) as door:
        _, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
        writer.write(request(path="/v1/endless"))
        await asyncio.sleep(0.5)
        [client] = door.beam.clients
        assert client.flow.write_paused
        assert client.transport.get_write_buffer_size() < 2_000_000
        writer.transport.abort()


async def test_a_connection_held_back_is_let_go_for_the_next(open_door: Opener) -> None:
    """The last piece of an answer fills the client's buffer: the connection that brought it goes
    back to the pool and has to serve the next client."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await head_of(reader)
            size = 200_000 if b"large" in head else 2
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)

    async with scripted(serve) as port, open_door(port, gateway_upstream_connections=1) as door:
        _, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
        writer.write(request(path="/v1/items/large") * 100)
        held = 0
        for _ in range(100):
            await asyncio.sleep(0.01)
            held += any(c.flow.write_paused for c in door.beam.clients)
        assert held
        [answer] = await talk(door.port, request())
        assert answer.body == b"xx"
        writer.transport.abort()


async def test_an_answer_before_the_end_of_the_request(open_door: Opener) -> None:
    """The service refuses early: the client gets that answer, then the connection ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()
        await reader.read()

    async with scripted(serve) as port, open_door(port) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request("POST", "/v1/items/a", Content_Length="500000") + b"x" * 1000)
        answer = await read_answer(reader)
        assert answer.status == 403
        assert answer.header("connection") == "close"
        assert await reader.read() == b""
        writer.close()
