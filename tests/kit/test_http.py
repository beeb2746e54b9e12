"""Outbound calls over connections that are kept, and that the other side may end at any time."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
import uvicorn

from kit.http import LIMITS, open_client

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Peer:
    """Answers the first request of each connection and breaks off at the second, as a server does
    that ends a connection just when it is used again."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for answer in (OK, b""):
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head.split(b" ", 1)[0])
                writer.write(answer)
        writer.close()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


@pytest.fixture
async def client(peer: Peer) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(f"http://127.0.0.1:{peer.port}") as made:
        yield made


async def test_what_only_reads_is_asked_again_when_a_kept_connection_ends(
    client: httpx.AsyncClient, peer: Peer
) -> None:
    for _ in range(4):
        assert (await client.get("/")).text == "ok"
    assert len(peer.requests) == 4 + 3, "each but the first one met its end once"


async def test_what_does_something_is_not(client: httpx.AsyncClient, peer: Peer) -> None:
    assert (await client.get("/")).text == "ok"
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post("/")
    assert peer.requests == [b"GET", b"POST"]


def test_a_connection_is_let_go_before_our_own_servers_end_it() -> None:
    kept = uvicorn.Config("nothing:app").timeout_keep_alive
    assert LIMITS.keepalive_expiry is not None
    assert LIMITS.keepalive_expiry < kept


async def test_an_answer_waits_for_no_collector(client: httpx.AsyncClient) -> None:
    gc.collect()
    gc.disable()
    try:
        answer = await client.get("/")
        assert answer.text == "ok"
        gone = weakref.ref(answer)
        del answer
        assert gone() is None
    finally:
        gc.enable()


async def test_an_answer_that_is_read_in_pieces_is_whole(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/") as answer:
        assert [piece async for piece in answer.aiter_bytes()] == [b"ok"]
