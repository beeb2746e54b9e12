"""The beam in a rush: see bench.surge. Not a comparison: the figures stand for themselves."""

import sys

from bench import surge
from bench.harness import Bench

TIMES = 10
PATH = "/v1/items/A05"
REPORTED = ("admitted_p99_ms", "refused_p99_ms")


async def run(bench: Bench) -> None:
    with bench.programs():
        await _run(bench, seconds=8.0 if bench.quick else 60.0)


async def _run(bench: Bench, *, seconds: float) -> None:
    upstream = bench.free_port()
    command = [sys.executable, "-m", "bench.surge", str(upstream)]
    bench.start("service", command, upstream, tested=False)
    port = bench.free_port()
    env = {
        "BEAM_GATEWAY_PORT": str(port),
        "BEAM_CATALOG_URL": f"http://127.0.0.1:{upstream}",
        # All of the rush comes from one address: what is tried here is the queue.
        "BEAM_GATEWAY_RATE": "0",
    }
    bench.start("beam", [sys.executable, "-m", "gateway.server"], port, tested=True, env=env)
    before = await surge.rush(port, PATH, surge.CAPACITY / 2, 3.0)
    usual = surge.percentile(before.admitted, 0.5)
    told = await surge.rush(port, PATH, surge.CAPACITY * TIMES, seconds)
    calm = await surge.calm_again(port, PATH, usual, 10.0)
    found = told.report()
    lost = told.other + told.unanswered
    more = {"found": found, "before": before.report(), "seconds": seconds, "times": TIMES}
    bench.add(
        "surge-admitted", "p99 of what was let in, s", found["admitted_p99_ms"] / 1000, 1.0,
        at_least=False, note=f"{found['admitted']:.0f} let in, usual p50 {usual:.0f} ms", **more,
    )  # fmt: skip
    bench.add(
        "surge-refused", "p99 of what was turned away, s", found["refused_p99_ms"] / 1000, 0.05,
        at_least=False, note=f"{found['refused']:.0f} turned away (429, 503); "
        f"{found['late_p99_ms']:.0f} ms of it may be the asking",
    )  # fmt: skip
    bench.add(
        "surge-served", "let in / what the service can do",
        len(told.admitted) / (surge.CAPACITY * seconds), 0.85,
    )  # fmt: skip
    bench.add("surge-lost", "neither answered nor turned away", float(lost), 0, at_least=False)
    bench.add("surge-after", "seconds until all is as before", calm, 5.0, at_least=False)
