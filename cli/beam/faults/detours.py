"""Roads between the parts that can be bad: a TCP proxy in front of every port of a platform.

The platform is started with BEAM_VIA_BASE, so that its programs dial the proxy's ports instead of
each other's; callers from outside, as our crowd, go straight to the gateway.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from ..demo import free_port_base
from ..programs import NATS_OFFSET, POSTGRES_OFFSET, PROGRAMS

Condition = Literal["good", "latency", "slow", "blackhole", "half_open", "refuse"]
OFFSETS = {p.name: p.offset for p in PROGRAMS} | {"nats": NATS_OFFSET, "postgres": POSTGRES_OFFSET}
LATENCY_SECONDS = 0.2
SLOW_BYTES_PER_SECOND = 40_000
_CHUNK = 16_384
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: a close is a reset."""


@dataclass
class Road:
    """The way to one part. Set `condition` at any time, from any thread:

    latency: 0.2 s each way; slow: 40 kB/s; blackhole: everything is taken and nothing arrives, as
    behind a firewall that drops; half_open: requests arrive, answers do not; refuse: connections
    are reset, also those that are open.
    """

    name: str
    port: int
    target: int
    condition: Condition = "good"
    passed: int = 0
    """Bytes that went through, both ways."""
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            while self.condition == "blackhole":  # noqa: ASYNC110  set from another thread
                await asyncio.sleep(0.05)
            if self.condition == "refuse":
                raise ConnectionResetError
            from_there, there = await asyncio.open_connection("127.0.0.1", self.target)
            self._open.add(there)
            ways = [self._pump(reader, there, False), self._pump(from_there, writer, True)]
            tasks = [asyncio.create_task(way) for way in ways]
            _, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        except OSError:
            _make_reset(writer)
        finally:
            for end in (writer, there):
                if end is not None:
                    self._open.discard(end)
                    end.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool
    ) -> None:
        while data := await reader.read(_CHUNK):
            while self._swallows(answers):  # noqa: ASYNC110  set from another thread
                await asyncio.sleep(0.05)
            if self.condition == "latency":
                await asyncio.sleep(LATENCY_SECONDS)
            elif self.condition == "slow":
                await asyncio.sleep(len(data) / SLOW_BYTES_PER_SECOND)
            writer.write(data)
            self.passed += len(data)
            await writer.drain()

    def _swallows(self, answers: bool) -> bool:
        return self.condition == "blackhole" or (answers and self.condition == "half_open")

    def cut(self) -> None:
        """Reset every open connection; in the loop's thread."""
        for writer in list(self._open):
            _make_reset(writer)
            writer.transport.abort()


def _make_reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class Detours:
    """All roads of one platform, in a thread of their own: `with Detours() as detours`."""

    def __init__(self) -> None:
        self.port_base, self.via_base = free_port_base(), free_port_base()
        while abs(self.via_base - self.port_base) < 50:
            self.via_base = free_port_base()
        self.roads: Mapping[str, Road] = {
            name: Road(name, self.via_base + offset, self.port_base + offset)
            for name, offset in OFFSETS.items()
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        """With this a platform takes these roads."""
        return {"BEAM_PORT_BASE": str(self.port_base), "BEAM_VIA_BASE": str(self.via_base)}

    @contextlib.contextmanager
    def bad(self, condition: Condition, *names: str) -> Iterator[None]:
        """These roads are in this condition until the end of the block."""
        for name in names:
            self.roads[name].condition = condition
            if condition == "refuse":
                self._loop.call_soon_threadsafe(self.roads[name].cut)
        try:
            yield
        finally:
            for name in names:
                self.roads[name].condition = "good"

    def __enter__(self) -> Self:
        self._thread.start()
        for road in self.roads.values():
            asyncio.run_coroutine_threadsafe(road.serve(), self._loop).result(5)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
