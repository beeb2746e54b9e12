"""An answer longer than its row allows is broken off; a stalled client costs no memory."""

import asyncio
import resource

import pytest

from .conftest import Opener, next_answer, request, talk
from .test_upstream import head_of, scripted

MIB = 1024 * 1024


@pytest.mark.parametrize("size", [16 * MIB + 1, 10**15])
async def test_an_answer_that_says_it_is_too_long(open_door: Opener, size: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await head_of(reader)
            told = size if b"HEAD" in head or b"long" in head else 2
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % told)
            if told == 2:
                writer.write(b"ok")

    async with scripted(serve) as port, open_door(port) as door:
        first, second = await talk(door.port, request(path="/v1/items/long") + request())
        assert first.problem["code"] == "bad_gateway"
        assert second.body == b"ok", "the next one is answered over another connection"


async def test_an_answer_that_goes_on_and_on(open_door: Opener) -> None:
    """Nobody said how long it would be: it ends in the middle, never as if it were whole."""
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(piece)
            await writer.drain()

    async with scripted(serve) as port, open_door(port) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=64 * MIB)
        writer.write(request())
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            async with asyncio.timeout(20):
                await next_answer(reader)
        writer.close()


async def test_clients_that_stall_in_a_long_answer_cost_no_memory(open_door: Opener) -> None:
    """Twenty of them ask for 15 MiB each and read nothing: 300 MiB, if it were kept."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (15 * MIB))
        for _ in range(15 * 16):
            writer.write(b"x" * 65536)
            await writer.drain()

    async with scripted(serve) as port, open_door(port) as door:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        writers = []
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
            writer.write(request())
            writers.append(writer)
        async with asyncio.timeout(30):
            while sum(c.flow.write_paused for c in door.beam.clients) < 20:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        kept = sum(c.transport.get_write_buffer_size() for c in door.beam.clients)
        assert kept < 20 * MIB
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert grown < 150, f"{grown:.0f} MiB"
        for writer in writers:
            writer.transport.abort()
