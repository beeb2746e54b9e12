"""The beam against nginx (proxy_pass, no token, no limit), @fastify/http-proxy (the same) and a
plain FastAPI + httpx proxy. Ours checks an ES256 token, counts, limits, and stamps request and
trace ids."""

from bench import ground
from bench.harness import Bench, Started
from bench.peers import fastify, nginx

PATH = "/v1/items/A05?lang=zh"


async def run(bench: Bench) -> None:
    if nginx.find() is None:
        bench.skip("gateway", "no nginx on this machine (Debian: apt-get install nginx-light)")
        return
    with bench.programs():
        await _run(bench)


async def _run(bench: Bench) -> None:
    headers = ground.headers(bench.folder)
    service = bench.free_port()
    bench.start("service", nginx.service(bench.folder, service), service, tested=False)
    port = bench.free_port()
    base = bench.start("nginx", nginx.proxy(bench.folder, port, service), port, tested=True)
    beam = ground.gateway(bench, catalog=service)
    for connections in (32,) if bench.quick else (8, 32, 128):
        found = bench.compare([base, beam], PATH, connections=connections, headers=headers)
        ours, theirs = found["beam"], found["nginx"]
        note = (
            f"CPU {ours['cpu_us']:.0f} µs against {theirs['cpu_us']:.0f} "
            f"(ratio {ours['cpu_ratio']:.2f})"
        )
        bench.add(
            f"gateway-{connections}",
            f"gateway with token check / nginx proxy_pass, {connections} connections, rps",
            ours["ratio"],
            0.45,
            note=note,
            ours=ours,
            base=theirs,
        )
        bench.add(
            f"gateway-{connections}-p99",
            f"gateway / nginx proxy_pass, {connections} connections, p99",
            ours["p99_ratio"],
            3.0,
            at_least=False,
            note=f"{ours['p99_ms']:.1f} ms against {theirs['p99_ms']:.1f}",
        )
    await _against_fastify(bench, service, beam, headers)
    plain = ground.plain_proxy(bench, service)
    found = bench.compare([plain, beam], PATH, connections=32, headers=headers)
    bench.add(
        "gateway-plain",
        "gateway / plain FastAPI + httpx proxy, 32 connections, rps",
        found["beam"]["ratio"],
        20.0,
        note=f"p99 {found['beam']['p99_ms']:.1f} ms against {found['plain']['p99_ms']:.1f}",
        ours=found["beam"],
        base=found["plain"],
    )


async def _against_fastify(
    bench: Bench, service: int, beam: Started, headers: dict[str, str]
) -> None:
    reason = fastify.why_not()
    if reason is not None:
        bench.skip("gateway-fastify", reason)
        return
    port = bench.free_port()
    node = bench.start("fastify", fastify.proxy(port, service), port, tested=True)
    found = bench.compare([node, beam], PATH, connections=32, headers=headers)
    bench.add(
        "gateway-fastify",
        "gateway with token check / @fastify/http-proxy, 32 connections, rps",
        found["beam"]["ratio"],
        2.0,
        note=f"p99 {found['beam']['p99_ms']:.1f} ms against {found['fastify']['p99_ms']:.1f}",
        ours=found["beam"],
        base=found["fastify"],
    )
