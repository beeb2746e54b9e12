"""Too much, and a service that does not answer: the door says so at once and recovers."""

import asyncio
import contextlib

from .conftest import Opener, Recorder, leave, recording, request, talk
from .test_upstream import OK, head_of, scripted


async def test_what_finds_the_queue_full_is_told_at_once(
    open_door: Opener, recorder: Recorder
) -> None:
    raw = request(path="/v1/items/slow")
    async with open_door(recorder.port, gateway_upstream_connections=2, gateway_queue=3) as door:
        told: list[int] = []

        async def ask() -> None:
            [answer] = await talk(door.port, raw)
            told.append(answer.status)
            if answer.status == 503:
                assert answer.problem["code"] == "overloaded"
                assert answer.problem["service"] == "catalog"
                assert answer.header("retry-after") == "1"

        await asyncio.gather(*(ask() for _ in range(12)))
        assert told.count(200) == 5
        assert told[:7] == [503] * 7, "the refused are answered before the first admitted one"
        assert door.beam.pools["catalog"].shed == 7
        [answer] = await talk(door.port, request())
        assert answer.status == 200


async def test_nobody_joins_a_queue_that_does_not_move(open_door: Opener) -> None:
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await head_of(reader)
            await go_on.wait()
            writer.write(OK)

    stuck = {"gateway_upstream_connections": 1, "gateway_queue_seconds": 0.1}
    async with scripted(serve) as port, open_door(port, **stuck) as door:
        first, second = (asyncio.create_task(talk(door.port, request())) for _ in range(2))
        await asyncio.sleep(0.4)
        [answer] = await talk(door.port, request())
        assert answer.problem["code"] == "overloaded"
        go_on.set()
        assert [a.status for a in (*await first, *await second)] == [200, 200]


async def test_who_has_left_takes_no_place_in_the_queue(
    open_door: Opener, recorder: Recorder
) -> None:
    async with open_door(recorder.port, gateway_upstream_connections=1, gateway_queue=1) as door:
        slow = asyncio.create_task(talk(door.port, request(path="/v1/items/slow")))
        await asyncio.sleep(0.1)
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request())
        await asyncio.sleep(0.1)
        leave(writer)
        await asyncio.sleep(0.05)
        [answer] = await talk(door.port, request())
        assert answer.status == 200
        await slow


async def test_a_service_that_breaks_off_again_and_again_is_left_alone(open_door: Opener) -> None:
    asked = 0
    well = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            await head_of(reader)
            asked += 1
            if not well:
                return
            writer.write(OK)

    async with scripted(serve) as port, open_door(port) as door:
        breaker = door.beam.pools["catalog"].breaker
        breaker.rest = 30.0
        for _ in range(breaker.limit):
            [answer] = await talk(door.port, request("POST", body=b"{}"))
            assert answer.status == 502
        before = asked
        [answer] = await talk(door.port, request())
        assert answer.problem["code"] == "unavailable"
        assert asked == before, "nothing was sent"
        # It comes back: one request in `rest` seconds may find out.
        well = True
        breaker.rest = 0.0
        breaker.failed(0.0)
        answers = await asyncio.gather(*(talk(door.port, request()) for _ in range(3)))
        assert [a.status for [a] in answers] == [200] * 3
        assert breaker.failures == 0


async def test_an_error_of_the_service_itself_closes_nothing(
    open_door: Opener, recorder: Recorder
) -> None:
    async with open_door(recorder.port) as door:
        for _ in range(12):
            [answer] = await talk(door.port, request(path="/v1/items/503"))
            assert answer.status == 503
        assert [a.status for a in await talk(door.port, request())] == [200]


async def test_requests_go_to_every_address_of_a_name(
    open_door: Opener, recorder: Recorder
) -> None:
    """As `--scale` gives them: one name, several addresses, looked up for every connection."""
    async with contextlib.AsyncExitStack() as stack:
        door = await stack.enter_async_context(open_door(recorder.port))
        pool = door.beam.pools["catalog"]
        other = await stack.enter_async_context(recording(recorder.port, "127.0.0.2"))
        known = ["127.0.0.1"]

        async def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
            return [(2, 1, 6, "", (address, recorder.port)) for address in known]

        # The one thing that cannot be real here is the name server.
        pool.lookup = getaddrinfo
        pool.life_seconds = -1.0  # every answer ends its connection
        for _ in range(4):
            assert [a.status for a in await talk(door.port, request())] == [200]
        assert (len(recorder.seen), len(other.seen)) == (4, 0)
        known.append("127.0.0.2")
        for _ in range(4):
            assert [a.status for a in await talk(door.port, request())] == [200]
        assert (len(recorder.seen), len(other.seen)) == (6, 2)
        await recorder.stop()
        for _ in range(4):
            assert [a.status for a in await talk(door.port, request())] == [200]
        assert len(other.seen) == 6
