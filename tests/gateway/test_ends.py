"""What a connection held goes with it, at once, and not when the collector of cycles comes by."""

import asyncio
import gc
import weakref
from typing import Any

from .conftest import Door, leave, read_answer, request


async def test_a_connection_that_is_over_waits_for_no_collector(door: Door) -> None:
    gc.collect()
    gc.disable()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        for _ in range(3):  # the fields of a head that comes again are remembered
            writer.write(request(authorization="Bearer nobody"))
            await read_answer(reader)
            writer.write(request())
            await read_answer(reader)
        held = _weakly(door)
        assert len(held) == 2, "one to the client, one to the service"
        leave(writer)
        for connection in list(door.beam.pools["catalog"].connections):
            connection.transport.abort()
        del connection
        async with asyncio.timeout(15):
            while any(reference() is not None for reference in held):
                await asyncio.sleep(0.01)
    finally:
        gc.enable()


def _weakly(door: Door) -> list[weakref.ref[Any]]:
    beam = door.beam
    return [weakref.ref(one) for one in (*beam.clients, *beam.pools["catalog"].connections)]
