"""Addresses that others named: where we go, where we do not, and that a name cannot flip."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kit.guarded import LARGEST, BadAnswer, Forbidden, Guard, Outward, is_public
from kit.testing import serve

LOOPBACK = ("127.0.0.0/8", "::1")


class Stranger:
    """A real server; its path says how it behaves."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[bytes, bytes], bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive()).get("body", b"")
        self.calls.append((scope["path"], dict(scope["headers"]), body))
        status, headers, answer = 200, [], b'{"ok": true}'
        match scope["path"]:
            case "/redirect":
                status, headers = 302, [(b"location", b"http://127.0.0.1:1/metadata")]
            case "/large":
                answer = b"x" * (LARGEST + 1)
            case "/text":
                answer = b"hello"
            case "/gone":
                status = 404
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module")
async def stranger() -> AsyncIterator[tuple[Stranger, str]]:
    app = Stranger()
    async with serve(app, lifespan="off") as url:
        yield app, url


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "10.0.0.8",
        "172.16.1.1",
        "192.168.0.10",
        "100.64.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_no_such_address_is_called(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2400:3200::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_the_internet_is(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/",
        "http://8.8.8.8/",
        "https://user:password@8.8.8.8/",
        "file:///etc/passwd",
        "gopher://8.8.8.8/",
    ],
)
async def test_nothing_is_sent_there(url: str) -> None:
    outward = Outward()
    with pytest.raises(httpx.HTTPError) as refused:
        await outward.post(url, {"a": "b"})
    assert isinstance(refused.value, Forbidden | httpx.UnsupportedProtocol | httpx.ConnectError)
    await outward.close()


async def test_one_private_address_among_many_is_enough() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "10.0.0.1"]

    outward = Outward(resolve=resolve)
    with pytest.raises(Forbidden):
        await outward.json("https://mixed.example/")
    await outward.close()


async def test_a_name_that_flips_gains_nothing() -> None:
    """It is looked up once, and the connection goes to what was checked."""
    asked, connected = 0, []

    async def resolve(host: str, port: int) -> list[str]:
        nonlocal asked
        asked += 1
        return ["8.8.8.8"] if asked == 1 else ["127.0.0.1"]

    async def answer(request: httpx.Request) -> httpx.Response:
        connected.append((request.url.host, request.headers["host"], request.extensions))
        return httpx.Response(200)

    guard = Guard(httpx.MockTransport(answer), resolve=resolve)
    async with httpx.AsyncClient(transport=guard) as client:
        await client.get("https://flips.example/x")
        with pytest.raises(Forbidden):
            await client.get("https://flips.example/x")
    assert len(connected) == 1
    host, header, extensions = connected[0]
    assert (host, header) == ("8.8.8.8", "flips.example")
    assert extensions["sni_hostname"] == "flips.example"


async def test_a_network_of_our_own_may_be_allowed(stranger: tuple[Stranger, str]) -> None:
    app, url = stranger
    outward = Outward(LOOPBACK)
    assert await outward.post(f"{url}/told", {"logout_token": "x"}) == 200
    path, headers, body = app.calls[-1]
    assert (path, body) == ("/told", b"logout_token=x")
    assert headers[b"host"].decode() in url
    assert await outward.json(f"{url}/keys") == {"ok": True}
    await outward.close()
    closed = Outward(("10.0.0.0/8",))
    with pytest.raises(Forbidden):
        await closed.json(f"{url}/keys")
    await closed.close()


async def test_what_is_no_answer(stranger: tuple[Stranger, str]) -> None:
    app, url = stranger
    outward = Outward(LOOPBACK)
    before = len(app.calls)
    assert await outward.post(f"{url}/redirect", {}) == 302
    assert len(app.calls) == before + 1
    for path in ("redirect", "large", "text", "gone"):
        with pytest.raises(BadAnswer):
            await outward.json(f"{url}/{path}")
    await outward.close()


async def test_five_seconds_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger who sends a byte now and then keeps nobody waiting."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.05)

    monkeypatch.setattr("kit.guarded.SECONDS", 0.3)
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    outward = Outward(LOOPBACK)
    with pytest.raises(httpx.ReadTimeout):
        await outward.json(f"http://127.0.0.1:{port}/")
    await outward.close()
    server.close()
