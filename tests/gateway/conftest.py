"""A real gateway on a real socket, and a real service behind it that keeps all it was sent."""

import asyncio
import contextlib
import functools
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from gateway import server
from gateway.beam import Beam
from gateway.settings import GatewaySettings
from gateway.table import MIB, PUBLIC, ROUTES, SERVICES, Route
from kit.auth import AUDIENCE
from kit.ids import uuid7
from kit.jose import SigningKey

ISSUER = "http://beam.test"
RECORDED = tuple(
    Route(method, path, "catalog", PUBLIC, body_limit=1 * MIB, answer_limit=2_000 * MIB)
    for path, methods in (
        ("/v1/items/{what}", ("POST", "PUT", "PATCH", "DELETE")),
        ("/v1/endless", ("GET",)),
    )
    for method in methods
)
"""What the recorder takes beside the catalogue's own operations."""


def bound(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


@contextlib.asynccontextmanager
async def served(
    config: uvicorn.Config, port: int = 0, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """A uvicorn server in this loop, on a free port or the given one."""
    sock = bound(port, host)
    port = port_of(sock)
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve([sock]))
    while not running.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.01)
    try:
        yield running, port
    finally:
        running.should_exit = True
        await task


@dataclass
class Seen:
    """One request as the service behind the gateway got it."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""

    def header(self, name: str) -> list[str]:
        return [v.decode("latin-1") for n, v in self.headers if n == name.encode()]


@dataclass
class Recorder:
    """An ASGI service. `/v1/items/<what>` says how it behaves; everything is kept in `seen`."""

    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    server: uvicorn.Server | None = None

    async def stop(self) -> None:
        """End the service; wait until its port is free again."""
        assert self.server is not None
        self.server.should_exit = True
        while self.server.started and self.server.servers[0].is_serving():
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        seen = Seen(scope["method"], target, list(scope["headers"]))
        self.seen.append(seen)
        while True:
            message = await receive()
            seen.body += message.get("body", b"")
            if not message.get("more_body"):
                break
        what = scope["path"].rsplit("/", 1)[-1]
        head: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]
        body = json.dumps({"n": len(seen.body), "path": scope["path"]}).encode()
        status = 200
        if what.isdigit():
            status = int(what)
        if status in (204, 304):
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        if what == "chunks":
            await send({"type": "http.response.start", "status": 200, "headers": head})
            for i in range(5):
                piece = b"piece %d;" % i
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        if what == "endless":
            head.append((b"content-length", b"1000000000"))
            await send({"type": "http.response.start", "status": 200, "headers": head})
            for _ in range(1000):
                piece = b"x" * 1_000_000
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        if what == "stepup":
            status = 401
            needed = b'Bearer error="insufficient_user_authentication", acr_values="L3"'
            head.append((b"www-authenticate", needed))
        if what == "slow":
            await asyncio.sleep(0.5)
        head.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def recording(port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[Recorder]:
    recorder = Recorder()
    config = uvicorn.Config(
        recorder, http="httptools", lifespan="off", log_config=None, access_log=False
    )
    async with served(config, port, host) as (server, bound_to):
        recorder.port, recorder.server = bound_to, server
        yield recorder


class Keys:
    """An issuer: a signing key, its JWKS in a file, tokens."""

    def __init__(self, folder: Path) -> None:
        self.key = SigningKey(SigningKey.generate())
        self.file = folder / "jwks.json"
        self.publish()

    def publish(self) -> None:
        self.file.write_text(json.dumps({"keys": [self.key.public_jwk]}))

    def token(self, subject: str = "acc_1", *, typ: str = "at+jwt", **claims: Any) -> str:
        now = int(time.time())
        body = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "jti": uuid7().hex, "iat": now}
        return self.key.sign(
            {**body, "exp": now + 600, "kind": "person", "scope": "openid", **claims}, typ
        )


@dataclass
class Door:
    """A running gateway."""

    port: int
    server: uvicorn.Server
    beam: Beam


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = [v for n, v in self.headers if n == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def problem(self) -> dict[str, Any]:
        assert self.header("content-type") == "application/problem+json"
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        return found


async def read_answer(
    reader: asyncio.StreamReader, first: bytes = b"", *, head_only: bool = False
) -> Answer:
    """One whole answer off the wire, read strictly."""
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, status = head[0].split(" ", 2)[:2]
    assert version == "HTTP/1.1"
    headers = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in head[1:-2])]
    answer = Answer(int(status), headers, b"")
    length = answer.header("content-length")
    if head_only or answer.status < 200 or answer.status in (204, 304):
        return answer
    if answer.header("transfer-encoding") == "chunked":
        assert length is None
        while True:
            size = int((await reader.readuntil(b"\r\n"))[:-2], 16)
            piece = await reader.readexactly(size + 2)
            assert piece[-2:] == b"\r\n"
            if not size:
                return answer
            answer.body += piece[:-2]
    if length is None:
        answer.body = await reader.read()
    else:
        answer.body = await reader.readexactly(int(length))
    return answer


async def talk(port: int, *pieces: bytes, pause: float = 0.0, stay: bool = False) -> list[Answer]:
    """Send raw bytes, say that this was all (unless `stay`), and read whole answers until the
    gateway hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    answers: list[Answer] = []
    with contextlib.closing(writer):
        for piece in pieces:
            writer.write(piece)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            await asyncio.sleep(pause)
        if not stay:
            writer.write_eof()
        async with asyncio.timeout(15):
            while (answer := await next_answer(reader)) is not None:
                answers.append(answer)
    return answers


async def next_answer(reader: asyncio.StreamReader) -> Answer | None:
    """The next answer, None at a clean end of the connection; fails on half an answer."""
    first = await reader.read(1)
    if not first:
        return None
    return await read_answer(reader, first)


def leave(writer: asyncio.StreamWriter) -> None:
    """Go away at once: a mere end of writing would say that the answer is still wanted."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def request(
    method: str = "GET", path: str = "/v1/items/a", body: bytes = b"", **headers: str
) -> bytes:
    """A well-formed request; underscores in names of headers become dashes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: beam.test"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def gateway_of(keys: Keys, catalog: int, **settings: Any) -> AsyncIterator[Door]:
    """A gateway whose catalogue is at port `catalog`; the other services are away."""
    nowhere = bound()
    urls = {f"{s}_url": f"http://127.0.0.1:{port_of(nowhere)}" for s in SERVICES}
    urls["catalog_url"] = f"http://127.0.0.1:{catalog}"
    given = GatewaySettings(
        **{
            "environment": "test",
            "issuer": ISSUER,
            "jwks_url": keys.file.as_uri(),
            "gateway_linger_seconds": 0.2,
            "gateway_rate": 0,
            **urls,
            **settings,
        }
    )
    try:
        async with served(server.config(given, (*ROUTES, *RECORDED))) as (running, port):
            yield Door(port, running, running.lifespan.state["beam"])
    finally:
        nowhere.close()


Opener = Callable[..., contextlib.AbstractAsyncContextManager[Door]]
Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(Path(tmp_path_factory.mktemp("keys")))


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with recording() as found:
        yield found


@pytest.fixture
def open_door(keys: Keys) -> Opener:
    """Opens a gateway whose catalogue is at `catalog`; other settings as given."""

    return functools.partial(gateway_of, keys)


@pytest.fixture
async def door(open_door: Opener, recorder: Recorder) -> AsyncIterator[Door]:
    async with open_door(recorder.port) as found:
        yield found


@pytest.fixture(scope="module")
async def shared_recorder() -> AsyncIterator[Recorder]:
    async with recording() as found:
        yield found


@pytest.fixture(scope="module")
async def shared_door(keys: Keys, shared_recorder: Recorder) -> AsyncIterator[Door]:
    async with gateway_of(keys, shared_recorder.port) as found:
        yield found
