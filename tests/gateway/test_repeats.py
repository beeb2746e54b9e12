"""A head whose fields came before on its connection is not read anew: no other message may be taken
for such a one, and what belongs to the single request is still its own."""

import asyncio
import contextlib

import pytest

from .conftest import Answer, Door, Keys, Opener, Recorder, next_answer, request, talk

BLOCK = b"\r\nHost: beam.test\r\nAccept: a/b\r\n\r\n"
FIRST = b"GET /v1/items/a HTTP/1.1" + BLOCK


async def in_turn(port: int, *messages: bytes) -> list[Answer | None]:
    """Each message after the answer to the one before, on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    with contextlib.closing(writer):
        for message in messages:
            writer.write(message)
            async with asyncio.timeout(15):
                answers.append(await next_answer(reader))
    return answers


async def test_the_same_fields_again(shared_door: Door, shared_recorder: Recorder) -> None:
    other = b"GET /v1/items/b?x=1 HTTP/1.1" + BLOCK
    before = len(shared_recorder.seen)
    answers = await in_turn(shared_door.port, FIRST, FIRST, other, other)
    seen = shared_recorder.seen[before:]
    assert [a.status for a in answers if a] == [200] * 4
    assert [s.target for s in seen] == [b"/v1/items/a"] * 2 + [b"/v1/items/b?x=1"] * 2
    assert [s.header("accept") for s in seen] == [["a/b"]] * 4
    for name in ("x-request-id", "traceparent"):
        assert len({value for s in seen for value in s.header(name)}) == 4


@pytest.mark.parametrize(
    "line",
    [
        b"GET /v1/items/b HTTP/1.1",
        b"GET /v1/items/b HTTP/1.1\r\nX-More: 1",
        b"GET /v1/items/b HTTP/1.1\r\nGET /v1/items/c HTTP/1.1",
        b"GET /v1/items/b HTTP/1.1\r\n\r\nGET /v1/items/c HTTP/1.1",
        b"GET /v1/items/b HTTP/1.1\r\nContent-Length: 5",
        b"GET /v1/items/b HTTP/1.1\r\nHost: other.test",
        b"GET /v1/items/b HTTP/1.0",
        b"GET /v1/items/b HTTP/2.0",
        b"GET /v1/items/b  HTTP/1.1",
        b"GET  /v1/items/b HTTP/1.1",
        b"GET\t/v1/items/b HTTP/1.1",
        b"GET /v1/items/b\nX: HTTP/1.1",
        b"GET /v1/items/../b HTTP/1.1",
        b"GET /v1/items//b HTTP/1.1",
        b"GET /v1/items/%2e%2e/b HTTP/1.1",
        b"GET /v1/items/b#c HTTP/1.1",
        b"GET http://other.test/v1/items/b HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET /v1/nothing HTTP/1.1",
        b"GET /internal/v1/accounts/a/holder HTTP/1.1",
        b"get /v1/items/b HTTP/1.1",
        b"GETX /v1/items/b HTTP/1.1",
        b"HEAD /v1/items/b HTTP/1.1",
        b"DELETE /v1/items/b HTTP/1.1",
        b"CONNECT /v1/items/b HTTP/1.1",
        b"\r\nGET /v1/items/b HTTP/1.1",
        b"GET /health/live HTTP/1.1",
        b"GET /v1/items/" + b"b" * 9000 + b" HTTP/1.1",
        b"",
        b"GET ",
        b"GET /docs/errors HTTP/1.1",
    ],
)
async def test_no_other_message_passes_for_it(
    line: bytes, shared_door: Door, shared_recorder: Recorder
) -> None:
    """After `FIRST` a message gets what it gets on a connection of its own."""

    async def outcome(*earlier: bytes) -> tuple[list[int], list[tuple[str, bytes]]]:
        before = len(shared_recorder.seen)
        reader, writer = await asyncio.open_connection("127.0.0.1", shared_door.port)
        statuses = []
        with contextlib.closing(writer):
            for raw in earlier:
                writer.write(raw)
                assert await next_answer(reader) is not None
            writer.write(line + BLOCK)
            writer.write_eof()
            async with asyncio.timeout(15):
                if line.startswith(b"HEAD"):
                    statuses.append(int((await reader.readuntil(b"\r\n\r\n"))[9:12]))
                else:
                    while (answer := await next_answer(reader)) is not None:
                        statuses.append(answer.status)
        seen = shared_recorder.seen[before + len(earlier) :]
        return statuses, [(s.method, s.target) for s in seen]

    alone = await outcome()
    assert await outcome(FIRST) == alone
    assert await outcome(FIRST, FIRST) == alone


async def test_pieces_of_a_head_that_ends_alike(
    shared_door: Door, shared_recorder: Recorder
) -> None:
    before = len(shared_recorder.seen)
    pieces = (FIRST, b"GET /v1/items/b HT", b"TP/1.1\r\nX-More: 1" + BLOCK, b"\r\n", FIRST)
    answers = await talk(shared_door.port, *pieces, pause=0.05)
    seen = shared_recorder.seen[before:]
    assert [a.status for a in answers] == [200, 200, 200]
    assert [s.header("x-more") for s in seen] == [[], ["1"], []]


async def test_a_token_taken_back_between_two(
    open_door: Opener, recorder: Recorder, keys: Keys
) -> None:
    raw = request(path="/v1/items/a", Authorization=f"Bearer {keys.token('acc_r', jti='t1')}")
    async with open_door(recorder.port) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        statuses = []
        with contextlib.closing(writer):
            for turn in range(4):
                if turn == 2:
                    door.beam.keyring.revoked.note("token", "t1", 0)
                writer.write(raw)
                answer = await next_answer(reader)
                statuses.append(answer.status if answer else 0)
    assert statuses == [200, 200, 401, 401]
