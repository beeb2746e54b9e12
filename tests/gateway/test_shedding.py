"""Too much, and a service that does not answer: the door says so at once and recovers."""

import asyncio
import contextlib
import json

import pytest

from gateway.congestion import FIRST, LEAST, Window

from .conftest import Opener, Recorder, leave, recording, request, talk
from .test_upstream import OK, head_of, scripted


async def test_what_finds_the_queue_full_is_told_at_once(
    open_door: Opener, recorder: Recorder
) -> None:
    raw = request(path="/v1/items/slow")
    few = {"gateway_upstream_connections": 2, "gateway_queue": 3, "gateway_queue_seconds": 5.0}
    async with open_door(recorder.port, **few) as door:
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


def test_a_window_grows_while_answers_are_quick_and_shrinks_when_they_are_late() -> None:
    window = Window(64)
    assert window.size == FIRST
    for _ in range(1000):
        window.answered(0.002, int(window.size), 0.0)
    assert window.size == 64
    now = 1.0
    for _ in range(100):
        window.answered(0.9, int(window.size), now)
        now += 0.2
    assert window.size == LEAST
    before = Window(64)
    for _ in range(100):
        before.answered(0.9, 2, now)
        now += 0.2
    assert before.size == FIRST, "slow by nature, not by load: hardly anything is with it"


def test_one_late_round_shrinks_a_window_once() -> None:
    window = Window(64)
    for _ in range(16):
        window.answered(0.9, 16, 5.0)
    assert window.size == FIRST * 0.8


def test_the_wait_is_told_by_littles_law() -> None:
    window = Window(64)
    assert window.wait(100, 10) == 0.0, "nothing is known yet"
    for _ in range(200):
        window.answered(0.1, 10, 0.0)
    assert 0.95 < window.wait(99, 10) < 1.05


async def test_who_waited_too_long_makes_room_for_those_behind(
    open_door: Opener, recorder: Recorder
) -> None:
    """One place, half a second each: with others behind it, the second is not made to wait on."""
    few = {"gateway_upstream_connections": 1, "gateway_queue": 9, "gateway_queue_seconds": 0.2}
    async with open_door(recorder.port, **few) as door:
        raw = request(path="/v1/items/slow")
        asking = [asyncio.create_task(talk(door.port, raw)) for _ in range(3)]
        told = [answer.status for [answer] in await asyncio.gather(*asking)]
    assert sorted(told) == [200, 200, 503]


async def test_a_tenfold_rush_is_let_in_in_part_and_the_rest_is_told(open_door: Opener) -> None:
    """Shape alone; `python -m bench surge` has the figures."""
    from bench import surge

    places = asyncio.Semaphore(surge.PLACES)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await head_of(reader)
            async with places:
                await asyncio.sleep(surge.SERVICE_SECONDS)
            writer.write(OK)

    async with scripted(serve) as port, open_door(port) as door:
        told = await surge.rush(door.port, "/v1/items/a", 4 * surge.CAPACITY, 2.0)
        pool = door.beam.pools["catalog"]
        assert len(told.admitted) > 50
        assert len(told.refused) > 50
        assert told.other == told.unanswered == 0
        assert pool.window.size < 64
        assert not [x for x in pool.waiting if not x.over]
        after = await surge.rush(door.port, "/v1/items/a", surge.CAPACITY / 10, 0.5)
        assert after.admitted
        assert not after.refused


async def test_a_rush_of_refusals_writes_few_lines_and_counts_the_rest(
    open_door: Opener, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_door(recorder.port, gateway_rate=0.001, gateway_burst=1) as door:
        answers = await talk(door.port, request() * 200)
        assert sorted({answer.status for answer in answers}) == [200, 429]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = [line for line in lines if line.get("message") in ("refused", "refused many")]
    single = [line for line in told if "count" not in line]
    assert 0 < len(single) < 199
    assert len(single) + sum(line.get("count", 0) for line in told) == 199
    assert {line["code"] for line in told} == {"too_many"}
