"""What is kept of the catalogue's public answers, for how long, and that it is never old news."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest
import uvicorn

from .conftest import Answer, Door, Keys, Opener, request, served, talk

ITEM = "/v1/items/A05"


class Catalogue:
    """A service whose item has a version; counts how often it is asked."""

    def __init__(self) -> None:
        self.version, self.asked = 1, 0
        self.headers: dict[str, str] = {"cache-control": "public, max-age=60"}
        self.gate: asyncio.Event | None = None
        self.extra = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        version = self.version
        if self.gate is not None:
            await self.gate.wait()
        etag = f'"{version}"'
        headers = {"content-type": "application/json", "etag": etag, **self.headers}
        sent = {n.decode(): v.decode() for n, v in scope["headers"]}
        status = 304 if sent.get("if-none-match") == etag else 200
        head = [(n.encode(), v.encode()) for n, v in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": head})
        body = b'{"version":%d}' % version + self.extra if status == 200 else b""
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def catalogue() -> AsyncIterator[tuple[Catalogue, int]]:
    app = Catalogue()
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    async with served(config) as (_, port):
        yield app, port


@contextlib.asynccontextmanager
async def caching(
    open_door: Opener, port: int, nats_url: str, **settings: Any
) -> AsyncIterator[Door]:
    async with open_door(port, nats_url=nats_url, **settings) as door:
        async with asyncio.timeout(10):
            while not door.beam.cache.listening:
                await asyncio.sleep(0.02)
        yield door


async def ask(door: Door, path: str = ITEM, **headers: str) -> Answer:
    [answer] = await talk(door.port, request(path=path, **headers))
    return answer


async def tell(nats_url: str, subject: str = "evt.catalog.item_published.v1._._") -> None:
    client = await nats.connect(nats_url)
    await client.publish(subject, b"{}")
    await client.flush()
    await client.close()


async def until_dropped(door: Door, generation: int) -> None:
    async with asyncio.timeout(10):
        while door.beam.cache.generation == generation:
            await asyncio.sleep(0.01)


async def test_a_second_reader_gets_what_the_first_got(
    catalogue: tuple[Catalogue, int], open_door: Opener, nats_url: str, keys: Keys
) -> None:
    app, port = catalogue
    async with caching(open_door, port, nats_url, gateway_rate=100.0) as door:
        first = await ask(door)
        second = await ask(door, Authorization=f"Bearer {keys.token()}")
        assert app.asked == 1
        assert first.body == second.body
        assert (first.header("age"), second.header("age")) == (None, "0")
        assert second.header("etag") == '"1"'
        assert second.header("ratelimit") is not None
        assert first.header("x-request-id") != second.header("x-request-id")
        third = await ask(door, If_None_Match='"0", W/"1"')
        assert (third.status, third.body, third.header("etag")) == (304, b"", '"1"')
        assert (await ask(door, If_None_Match='"0"')).status == 200
        assert app.asked == 1
        bad = await ask(door, Authorization="Bearer x.y.z")
        assert bad.status == 401


async def test_an_event_of_the_catalogue_drops_it(
    catalogue: tuple[Catalogue, int], open_door: Opener, nats_url: str
) -> None:
    app, port = catalogue
    async with caching(open_door, port, nats_url) as door:
        await ask(door)
        app.version = 2
        assert (await ask(door)).body == b'{"version":1}'
        generation = door.beam.cache.generation
        await tell(nats_url, "evt.case.case_submitted.v1._._")
        await tell(nats_url)
        await until_dropped(door, generation)
        assert door.beam.cache.generation == generation + 1
        assert (await ask(door)).body == b'{"version":2}'
        assert app.asked == 2


async def test_what_was_asked_before_an_event_is_not_kept_after_it(
    catalogue: tuple[Catalogue, int], open_door: Opener, nats_url: str
) -> None:
    app, port = catalogue
    async with caching(open_door, port, nats_url) as door:
        app.gate = asyncio.Event()
        slow = asyncio.create_task(ask(door))
        async with asyncio.timeout(10):
            while not app.asked:
                await asyncio.sleep(0.01)
        generation = door.beam.cache.generation
        app.version = 2
        await tell(nats_url)
        await until_dropped(door, generation)
        app.gate.set()
        assert (await slow).body == b'{"version":1}'
        assert (await ask(door)).body == b'{"version":2}'


async def test_nothing_is_kept_while_no_event_is_heard(
    catalogue: tuple[Catalogue, int], open_door: Opener, nats_url: str
) -> None:
    app, port = catalogue
    async with caching(open_door, port, nats_url) as door:
        await ask(door)
        assert len(door.beam.cache) == 1
        door.beam.cache.listening = False
        await ask(door)
        await ask(door)
        assert app.asked == 3
    async with open_door(port) as door:
        await ask(door)
        await ask(door)
        assert app.asked == 5
    async with open_door(port, nats_url=nats_url, gateway_cache_bytes=0) as door:
        await asyncio.sleep(0.3)
        await ask(door)
        await ask(door)
        assert app.asked == 7


@pytest.mark.parametrize(
    "headers",
    [
        {"cache-control": "max-age=60"},
        {"cache-control": "public"},
        {"cache-control": "public, max-age=0"},
        {"cache-control": "public, max-age=60, no-store"},
        {"cache-control": "private, max-age=60"},
        {"cache-control": "public, max-age=60", "vary": "cookie"},
        {"cache-control": "public, max-age=60", "set-cookie": "a=b"},
        {},
    ],
    ids=str,
)
async def test_what_the_service_does_not_allow_is_not_kept(
    catalogue: tuple[Catalogue, int], open_door: Opener, nats_url: str, headers: dict[str, str]
) -> None:
    app, port = catalogue
    app.headers = headers
    async with caching(open_door, port, nats_url) as door:
        await ask(door)
        await ask(door)
        assert app.asked == 2


async def test_what_goes_past_it(
    catalogue: tuple[Catalogue, int], open_door: Opener, nats_url: str
) -> None:
    app, port = catalogue
    async with caching(open_door, port, nats_url) as door:
        await ask(door)
        await ask(door, Cache_Control="no-cache")
        await ask(door, Accept_Language="en")
        await ask(door, ITEM + "?x=1")
        await talk(door.port, request("HEAD", ITEM))
        await talk(door.port, request("POST", ITEM, b"{}"))
        assert app.asked == 6
        assert len(door.beam.cache) == 3


async def test_it_ends_with_its_age(
    catalogue: tuple[Catalogue, int], open_door: Opener, nats_url: str
) -> None:
    app, port = catalogue
    app.headers = {"cache-control": "public, max-age=1"}
    async with caching(open_door, port, nats_url) as door:
        await ask(door)
        await asyncio.sleep(1.1)
        await ask(door)
        assert app.asked == 2
        assert len(door.beam.cache) == 1


async def test_it_is_bounded(
    catalogue: tuple[Catalogue, int], open_door: Opener, nats_url: str
) -> None:
    app, port = catalogue
    app.extra = b" " * 9000
    async with caching(open_door, port, nats_url, gateway_cache_bytes=40_000) as door:
        cache = door.beam.cache
        for n in range(9):
            await ask(door, f"{ITEM}?n={n}")
            assert cache.bytes <= 40_000
        assert len(cache) == 3
        before = app.asked
        await ask(door, f"{ITEM}?n=8")
        assert app.asked == before
        await ask(door, f"{ITEM}?n=0")
        assert app.asked == before + 1
        app.extra = b" " * 300_000
        await ask(door, f"{ITEM}?n=large")
        assert len(cache) == 3
