"""A rush: ten times what a service can do, for a while. What is let in is answered in time, the
rest is told so at once, and afterwards all is as before.

    python -m bench surge [--quick] [--json FILE]

Requests come at their own pace whether or not the earlier ones were answered, as people do (an
open loop); the time of an answer counts from when its request was due.
"""

import asyncio
import random
import sys
import time
from dataclasses import dataclass, field

PLACES, SERVICE_SECONDS = 8, 0.04
CAPACITY = PLACES / SERVICE_SECONDS
"""Requests a second that the service of this test can do."""


async def service(port: int) -> None:
    """A service that does PLACES requests at a time, SERVICE_SECONDS each; the others wait."""
    places = asyncio.Semaphore(PLACES)
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                async with places:
                    await asyncio.sleep(SERVICE_SECONDS)
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024) as server:
        await server.serve_forever()


@dataclass
class Told:
    """What came back: seconds by kind of answer."""

    admitted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    other: int = 0
    unanswered: int = 0
    late: list[float] = field(default_factory=list)
    """How long after its time each request went out: the delay of this program, not of the beam."""

    def report(self) -> dict[str, float]:
        return {
            "admitted": len(self.admitted),
            "admitted_p50_ms": percentile(self.admitted, 0.50),
            "admitted_p99_ms": percentile(self.admitted, 0.99),
            "refused": len(self.refused),
            "refused_p50_ms": percentile(self.refused, 0.50),
            "refused_p99_ms": percentile(self.refused, 0.99),
            "other": self.other,
            "unanswered": self.unanswered,
            "late_p99_ms": percentile(self.late, 0.99),
        }


def percentile(seconds: list[float], part: float) -> float:
    """In milliseconds; 0 of nothing."""
    ordered = sorted(seconds)
    return ordered[int(len(ordered) * part)] * 1000 if ordered else 0.0


class _Asker(asyncio.Protocol):
    """One kept connection; goes back to `free` after each answer."""

    def __init__(self, raw: bytes, free: "list[_Asker]", told: Told) -> None:
        self.raw, self.free, self.told = raw, free, told
        self.buffer = b""
        self.due = 0.0
        self.alive = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def ask(self, due: float) -> None:
        self.due = due
        self.transport.write(self.raw)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not mark or len(rest) < int(length or 0):
            return
        took, status = time.perf_counter() - self.due, head[9:12]
        self.buffer, self.due = b"", 0.0
        if status == b"200":
            self.told.admitted.append(took)
        elif status in (b"429", b"503"):
            self.told.refused.append(took)
        else:
            self.told.other += 1
        self.free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        if self.due:
            self.told.unanswered += 1


async def rush(port: int, path: str, rate: float, seconds: float, most: int = 1000) -> Told:
    """Ask `rate` times a second, at random moments, over at most `most` connections."""
    free: list[_Asker] = []
    told, loop = Told(), asyncio.get_running_loop()
    everyone: list[_Asker] = []
    raw = f"GET {path} HTTP/1.1\r\nHost: beam.bench\r\n\r\n".encode()
    began = due = time.perf_counter()
    chance = random.Random(1)
    while due - began < seconds:
        due += chance.expovariate(rate)
        ahead = due - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        asker = free.pop() if free else None
        while asker is not None and not asker.alive:
            asker = free.pop() if free else None
        if asker is None:
            if len(everyone) >= most:
                told.unanswered += 1
                continue
            _, asker = await loop.create_connection(
                lambda: _Asker(raw, free, told), "127.0.0.1", port
            )
            everyone.append(asker)
        told.late.append(time.perf_counter() - due)
        asker.ask(due)
    end = time.perf_counter() + 5
    while time.perf_counter() < end and any(a.due for a in everyone if a.alive):
        await asyncio.sleep(0.02)
    told.unanswered += sum(bool(a.due) for a in everyone if a.alive)
    for asker in everyone:
        asker.due = 0.0
        asker.transport.abort()
    return told


async def calm_again(port: int, path: str, usual_ms: float, patience: float) -> float:
    """Seconds until a second of half the capacity is answered as usual, all of it."""
    began = time.perf_counter()
    while (spent := time.perf_counter() - began) < patience:
        told = await rush(port, path, CAPACITY / 2, 1.0)
        late = percentile(told.admitted, 0.5) > 2 * usual_ms
        if not (late or told.refused or told.unanswered or told.other):
            return spent
    return patience


if __name__ == "__main__":
    asyncio.run(service(int(sys.argv[1])))
