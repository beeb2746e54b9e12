"""What one request costs each part, and so how many cores a city's load takes: for docs/scale.md.

Nothing is pinned: gateway, service, PostgreSQL, NATS and the load share all cores, as the CPU time
of each is counted apart.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from bench import ground, load
from bench.harness import Bench, cpu_seconds

CLIENTS = 32
READS, WRITES = 23_300, 2_000
"""Requests a second of a city at its peak (DESIGN: health code of a province, submissions)."""
SHARE = 0.6
"""Of a core's time that is planned for: the rest is for moments above the mean."""
BODY = '{"item_code":"A05","region":"310115"}'


@dataclass(frozen=True)
class Cost:
    """CPU µs per request of each part, and the rate at which it was seen."""

    parts: dict[str, float]
    rps: float
    p99_ms: float

    def cores(self, rate: int) -> dict[str, float]:
        """Cores of each part for so many requests a second."""
        return {name: rate * us / 1e6 / SHARE for name, us in self.parts.items()}


async def run(bench: Bench) -> None:
    headers = ground.headers(bench.folder)
    async with ground.servers(bench) as place:
        with bench.programs():
            service = place.kit_service(tested=None)
            beam = ground.gateway(bench, tested=None, case=ground.port_of(service))
            pids = {
                "gateway": beam.process.pid,
                "service": service.process.pid,
                "postgres": place.postgres.pid,
                "nats": place.nats.pid,
            }
            async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
                more = {"Idempotency-Key": "one", "Content-Type": "application/json"}
                made = await client.post(f"{beam.url}/v1/cases", content=BODY, headers=more)
                path = f"/v1/cases/{made.raise_for_status().json()['id']}"

            def cost(where: str, body: str | None) -> Callable[[], Cost]:
                return lambda: _cost(bench, beam.url + where, headers, body, pids)

            reading = await _median(bench, cost(path, None))
            writing = await _median(bench, cost("/v1/cases", BODY))
            await asyncio.sleep(2)
            await place.check_books()
    for id_, name, rate, seen in (
        ("capacity-reads", "reads of one thing", READS, reading),
        ("capacity-writes", "creations with event and key", WRITES, writing),
    ):
        cores = seen.cores(rate)
        bench.add(
            id_,
            f"cores for {rate} {name} a second, {SHARE:.0%} busy",
            sum(cores.values()),
            100,
            at_least=False,
            note=", ".join(f"{n} {us:.0f} µs → {cores[n]:.1f}" for n, us in seen.parts.items())
            + f"; here {seen.rps:.0f}/s, p99 {seen.p99_ms:.0f} ms",
            us=seen.parts,
            cores=cores,
        )


async def _median(bench: Bench, measure: Callable[[], Cost]) -> Cost:
    found = [await asyncio.to_thread(measure) for _ in range(bench.rounds + 1)][1:]
    return Cost(
        {name: statistics.median(c.parts[name] for c in found) for name in found[0].parts},
        statistics.median(c.rps for c in found),
        statistics.median(c.p99_ms for c in found),
    )


def _cost(
    bench: Bench, url: str, headers: dict[str, str], body: str | None, pids: dict[str, int]
) -> Cost:
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    got = load.fire(url, connections=CLIENTS, seconds=2 * bench.seconds, headers=headers, body=body)
    if got.errors or not got.requests:
        raise RuntimeError(str(got))
    time.sleep(1)  # the events of the last requests are still on their way
    spent = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    parts = {name: seconds / got.requests * 1e6 for name, seconds in spent.items()}
    return Cost(parts, got.rps, got.p99_ms)
