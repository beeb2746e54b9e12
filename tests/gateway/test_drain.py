"""Shutting down: what is in flight is answered, nothing fails."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest

from .conftest import ISSUER, Keys, Opener, Recorder, bound, port_of, read_answer, request, talk
from .test_upstream import OK, head_of, scripted

SERVE = """
import socket, sys
from gateway import server
server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


async def client(port: int, counts: dict[str, int]) -> None:
    """Asks one request after the other until the gateway says that this is the last answer, then
    on a new connection until there is none."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        with contextlib.closing(writer):
            while True:
                try:
                    writer.write(request(path="/v1/items/a"))
                    answer = await read_answer(reader)
                except (OSError, asyncio.IncompleteReadError):
                    # A connection that was never taken from the queue of the listener.
                    counts["unaccepted" if counts["new"] else "failed"] += 1
                    break
                counts["new"] = 0
                counts[str(answer.status)] = counts.get(str(answer.status), 0) + 1
                if answer.header("connection") == "close":
                    counts["closed"] += 1
                    break
        counts["new"] = 1


async def test_a_request_in_flight_is_answered(open_door: Opener, recorder: Recorder) -> None:
    async with open_door(recorder.port) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request(path="/v1/items/slow"))
        while not recorder.seen:
            await asyncio.sleep(0.01)
        door.server.should_exit = True
        answer = await read_answer(reader)
        assert answer.status == 200
        assert answer.header("connection") == "close"
        assert await reader.read() == b""
        writer.close()


async def test_an_idle_connection_may_ask_once_more(open_door: Opener, recorder: Recorder) -> None:
    async with open_door(recorder.port, gateway_linger_seconds=2.0) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request())
        assert (await read_answer(reader)).header("connection") is None
        door.server.should_exit = True
        while not all(c.draining for c in door.beam.clients):
            await asyncio.sleep(0.02)
        writer.write(request())
        answer = await read_answer(reader)
        assert (answer.status, answer.header("connection")) == (200, "close")
        writer.close()


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_under_load_fails_nothing(
    recorder: Recorder, keys: Keys, order: signal.Signals
) -> None:
    listener = bound()
    listener.listen(512)
    port = port_of(listener)
    environment = {
        **os.environ,
        "BEAM_GATEWAY_RATE": "0",
        "BEAM_ISSUER": ISSUER,
        "BEAM_JWKS_URL": keys.file.as_uri(),
        "BEAM_CATALOG_URL": f"http://127.0.0.1:{recorder.port}",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(listener.fileno())],
        pass_fds=[listener.fileno()],
        env=environment,
    )
    try:
        listener.close()
        counts = [{"failed": 0, "unaccepted": 0, "closed": 0, "new": 1} for _ in range(8)]
        tasks = [asyncio.create_task(client(port, count)) for count in counts]
        while any(c.get("200", 0) < 20 for c in counts):
            assert process.poll() is None
            await asyncio.sleep(0.05)
        process.send_signal(order)
        await asyncio.gather(*tasks)
        assert await asyncio.to_thread(process.wait) in (0, -order)
    finally:
        process.kill()
        process.wait()
    assert sum(c["failed"] for c in counts) == 0
    assert {k for c in counts for k in c} == {"failed", "unaccepted", "closed", "new", "200"}
    assert all(c["closed"] >= 1 for c in counts)
    assert len(recorder.seen) == sum(c["200"] for c in counts)


async def test_a_server_that_stops_leaves_no_listener(
    open_door: Opener, recorder: Recorder
) -> None:
    async with open_door(recorder.port) as door:
        port = door.port
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(("method", "body", "status", "times"), [
    ("GET", b"", 200, 2), ("POST", b"{}", 502, 1),
])  # fmt: skip
async def test_a_replica_dies_with_the_first_request_of_its_connection(
    open_door: Opener, method: str, body: bytes, status: int, times: int
) -> None:
    """It read the request and said nothing: another one is asked, where that does no harm."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await head_of(reader))
        if len(seen) == 1:
            writer.transport.abort()
        else:
            writer.write(OK)
            await writer.drain()

    async with scripted(serve) as port, open_door(port) as door:
        [answer] = await talk(door.port, request(method, "/v1/items/a", body))
        assert (answer.status, len(seen)) == (status, times)
