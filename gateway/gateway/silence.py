"""Services that took requests and say nothing any more: frozen, or behind a road that swallows
packets. One that is dead refuses at once; a silent one would let everybody wait for his time.

While nothing is asked of a service, or its answers flow, this costs nothing. When requests are
under way and nothing has come back for some seconds, a question of our own decides; until it is
answered, others are told at once.
"""

import asyncio
import contextlib
from collections.abc import Iterable

from .pools import Pool

LOOK_SECONDS = 0.5
QUIET_SECONDS = 3.0
"""Without any answer, while somebody waits for one."""
ASK_SECONDS = 2.0
_QUESTION = b"GET /health/live HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n"


async def watch(pools: Iterable[Pool]) -> None:
    """Until cancelled."""
    async with asyncio.TaskGroup() as group:
        for pool in pools:
            group.create_task(_watch(pool))


async def _watch(pool: Pool) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = pool.loop.time()
        if not pool.silent and len(pool.connections) == len(pool.idle):
            pool.heard = now  # nobody waits for anything
        if pool.silent or now - pool.heard > QUIET_SECONDS:
            pool.silent = not await _answers(pool)
            if not pool.silent:
                pool.heard = pool.loop.time()


async def _answers(pool: Pool) -> bool:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            reader, writer = await asyncio.open_connection(pool.host, pool.port)
            try:
                writer.write(_QUESTION % pool.host.encode())
                return bool(await reader.readline())
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    writer.transport.abort()
    except ConnectionRefusedError:
        return True  # it is dead, and says so to everybody
    except OSError:  # of which TimeoutError is one
        return False
