"""One process of a service against two beside each other: reads a second. Wants four cores, so
that neither the processes nor the load share one."""

import asyncio
import os

import httpx

from bench import ground, load
from bench.harness import Bench, Sample, Started

CORES = 4
CLIENTS = 16


async def run(bench: Bench) -> None:
    if (os.cpu_count() or 1) < CORES:
        bench.skip("scale", f"needs {CORES} cores, this machine has {os.cpu_count()}")
        return
    headers = ground.headers(bench.folder)
    async with ground.servers(bench) as place:
        with bench.programs():
            first, second = place.kit_service(tested=None), place.kit_service(tested=None)
            async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
                made = await client.post(
                    f"{first.url}/v1/cases",
                    json={"item_code": "A05", "region": "310115"},
                    headers={"Idempotency-Key": "one"},
                )
            path = f"/v1/cases/{made.raise_for_status().json()['id']}"
            rates = [
                [await _together(bench, programs, path, headers) for _ in range(bench.rounds)]
                for programs in ([first], [first, second])
            ]
    one, two = (sorted(each)[len(each) // 2] for each in rates)
    bench.add(
        "scale-two",
        "two processes of a service / one, rps",
        two / one,
        1.6,
        note=f"{two:.0f}/s against {one:.0f}",
    )


async def _together(
    bench: Bench, programs: list[Started], path: str, headers: dict[str, str]
) -> float:
    def fired(program: Started) -> Sample:
        got = load.fire(
            program.url + path,
            connections=CLIENTS,
            seconds=bench.seconds,
            headers=headers,
            body=None,
            pin=[],
        )
        if got.errors:
            raise RuntimeError(f"{program.name}: {got}")
        return Sample(got.rps)

    samples = await asyncio.gather(*(asyncio.to_thread(fired, one) for one in programs))
    return sum(sample.rps for sample in samples)
