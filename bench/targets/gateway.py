"""The beam against nginx (proxy_pass, no token, no limit) and against a plain FastAPI + httpx
proxy. Ours checks an ES256 token, counts, limits, and stamps request and trace ids."""

import json
import sys
import time

from bench.harness import Bench, Started
from bench.peers import nginx
from kit.auth import AUDIENCE
from kit.ids import uuid7
from kit.jose import SigningKey

ISSUER = "http://beam.bench"
PATH = "/v1/items/A05?lang=zh"


async def run(bench: Bench) -> None:
    if nginx.find() is None:
        bench.skip("gateway", "no nginx on this machine (Debian: apt-get install nginx-light)")
        return
    with bench.programs():
        await _run(bench)


async def _run(bench: Bench) -> None:
    headers = _headers(bench)
    service = bench.free_port()
    bench.start("service", nginx.service(bench.folder, service), service, tested=False)
    port = bench.free_port()
    base = bench.start("nginx", nginx.proxy(bench.folder, port, service), port, tested=True)
    beam = _beam(bench, service)
    for connections in (32,) if bench.quick else (8, 32, 128):
        found = bench.compare([base, beam], PATH, connections=connections, headers=headers)
        ours, theirs = found["beam"], found["nginx"]
        note = (
            f"CPU {ours['cpu_us']:.0f} µs against {theirs['cpu_us']:.0f} "
            f"(ratio {ours['cpu_ratio']:.2f}), p99 {ours['p99_ms']:.1f} ms "
            f"against {theirs['p99_ms']:.1f}"
        )
        bench.add(
            f"gateway-{connections}",
            f"gateway with token check / nginx proxy_pass, {connections} connections, rps",
            ours["ratio"],
            0.40,
            note=note,
            ours=ours,
            base=theirs,
        )
    plain = _plain(bench, service)
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


def _headers(bench: Bench) -> dict[str, str]:
    """What an app of a citizen sends; the token's key goes into a file."""
    key = SigningKey(SigningKey.generate())
    (bench.folder / "jwks.json").write_text(json.dumps({"keys": [key.public_jwk]}))
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "acc_bench", "jti": uuid7().hex, "iat": now}
    claims |= {"exp": now + 900, "kind": "person", "acr": "L3", "client_id": "portal"}
    return {
        "Authorization": f"Bearer {key.sign(claims, 'at+jwt')}",
        "Accept": "application/json",
        "Accept-Language": "zh-CN,zh;q=0.9",
        "User-Agent": "BeamApp/2.1 (iPhone; iOS 19.1)",
        "X-Device-Id": "5f2b6f0e-9d6c-4c3c-8f6e-0a1b2c3d4e5f",
    }


def _beam(bench: Bench, service: int) -> Started:
    port = bench.free_port()
    env = {
        "BEAM_GATEWAY_PORT": str(port),
        "BEAM_CATALOG_URL": f"http://127.0.0.1:{service}",
        "BEAM_ISSUER": ISSUER,
        "BEAM_JWKS_URL": (bench.folder / "jwks.json").as_uri(),
        # The limit works, only nobody reaches it.
        "BEAM_GATEWAY_RATE": "1000000",
        "BEAM_GATEWAY_BURST": "10000",
    }
    command = [sys.executable, "-m", "gateway.server"]
    return bench.start("beam", command, port, tested=True, env=env)


def _plain(bench: Bench, service: int) -> Started:
    port = bench.free_port()
    upstream, keys = f"http://127.0.0.1:{service}", str(bench.folder / "jwks.json")
    command = [sys.executable, "-m", "bench.peers.plain_proxy", str(port), upstream, keys, ISSUER]
    return bench.start("plain", command, port, tested=True)
