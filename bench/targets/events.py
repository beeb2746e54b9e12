"""From a commit in one service to the handler in another, through outbox, stream and inbox with
every acknowledged event on the disk: against a round trip of NATS, and as many as go through."""

import asyncio
import os
import signal
import statistics
import sys
import time
from dataclasses import dataclass

import asyncpg
import nats
from nats.aio.msg import Msg

from bench import ground
from bench.harness import Bench
from bench.peers import event_pair

RATE = 200
AT_LEAST = 5000
"""Events a second."""


async def run(bench: Bench) -> None:
    ground.headers(bench.folder)
    async with ground.servers(bench) as place:
        with bench.programs():
            dsn = {}
            for part in ("tell", "hear"):
                dsn[part] = await place.database(part, event_pair.Base.metadata)
                command = [sys.executable, "-m", "bench.peers.event_pair", part]
                bench.start(part, [*command, dsn[part], place.nats.url], None, tested=None)
            tell, hear = await asyncpg.connect(dsn["tell"]), await asyncpg.connect(dsn["hear"])
            try:
                pair = Pair(tell, hear)
                await _delay(bench, place, pair)
                await _flood(bench, pair)
                await _outage(bench, place, pair)
            finally:
                await tell.close()
                await hear.close()


@dataclass
class Pair:
    """The databases of `peers.event_pair`."""

    tell: asyncpg.Connection
    hear: asyncpg.Connection

    async def play(self, how: str, rate: int, count: int) -> list[tuple[int, int]]:
        """Order it, wait for all; for each event when it came and how late, in µs, in order."""
        await self.hear.execute("truncate heard")
        await self.tell.execute(f"notify bench_order, '{how} {rate} {count}'")
        end = time.monotonic() + 120
        while await self.hear.fetchval("select count(*) from heard") < count:
            if time.monotonic() > end:
                raise RuntimeError("the events do not arrive")
            await asyncio.sleep(0.2)
        rows = await self.hear.fetch("select at_us, delay_us from heard order by at_us")
        return [(row["at_us"], row["delay_us"]) for row in rows]


async def _delay(bench: Bench, place: ground.Ground, pair: Pair) -> None:
    """At a steady rate, so that no queue hides the delay or makes it."""
    count = RATE * (3 if bench.quick else 10)
    trips = await _round_trips(place.nats.url, count)
    heard = await pair.play("steady", RATE, count)
    delays = sorted(delay for _, delay in heard[count // 10 :])
    p50, p99 = (delays[int(len(delays) * part)] / 1000 for part in (0.5, 0.99))
    base = statistics.median(trips)
    for which, ours, wanted in (("p50", p50, 10.0), ("p99", p99, 50.0)):
        bench.add(
            f"event-{which}",
            f"commit to handler at {RATE}/s, {which} / a NATS round trip",
            ours / base,
            wanted,
            at_least=False,
            note=f"{ours:.1f} ms against {base:.2f}",
            ms=ours,
        )


async def _outage(bench: Bench, place: ground.Ground, pair: Pair) -> None:
    """The broker dies and stays away while events go on; from its return until the last of those
    that were told meanwhile is handled."""
    away = 10 if bench.quick else 60
    playing = asyncio.create_task(pair.play("steady", RATE, RATE * (away + 6)))
    await asyncio.sleep(2)
    os.kill(place.nats.pid, signal.SIGKILL)
    await asyncio.sleep(away)
    await asyncio.to_thread(place.nats.start)
    back = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    waited = [at for at, delay in await playing if at - delay < back]
    drained = max(0.0, (max(waited) - back) / 1e6)
    bench.add(
        "event-outage",
        f"after {away} s without a broker at {RATE}/s: seconds until all is handled",
        drained,
        30.0,
        at_least=False,
        drained=drained,
        away=away,
    )


async def _round_trips(url: str, count: int) -> list[float]:
    """Of request and reply between two connections, in ms."""
    answering, asking = await nats.connect(url), await nats.connect(url)

    async def answer(message: Msg) -> None:
        await message.respond(b"")

    await answering.subscribe("bench.echo", cb=answer)
    await answering.flush()
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await asking.request("bench.echo", b"x" * 200, timeout=5)
        times.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(1 / RATE / 4)
    await answering.close()
    await asking.close()
    return times


async def _flood(bench: Bench, pair: Pair) -> None:
    """As many as go: from the first event to the last handled one."""
    rates, count = [], 5000 if bench.quick else 20000
    for _ in range(bench.rounds):
        heard = await pair.play("flood", 0, count)
        began, end = min(at - delay for at, delay in heard), heard[-1][0]
        rates.append(count / (end - began) * 1e6)
    rate = statistics.median(rates)
    bench.add(
        "events-rate",
        f"events through outbox, stream and inbox / {AT_LEAST} a second",
        rate / AT_LEAST,
        1.0,
        note=f"{rate:.0f}/s, every one on the disk at the broker",
    )
