"""Load on loopback: `wrk` where there is one, else a small loader of our own."""

import asyncio
import itertools
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Load:
    """What one round brought."""

    rps: float
    requests: int
    p50_ms: float
    p99_ms: float
    errors: int


def tool() -> str:
    return "wrk" if shutil.which("wrk") else "own loader"


def fire(
    url: str,
    *,
    connections: int,
    seconds: int,
    headers: Mapping[str, str],
    body: str | None = None,
    pin: Sequence[str] = (),
) -> Load:
    """Closed-loop load: each connection asks again as soon as it has its answer. With a `body`
    it posts, each time under another Idempotency-Key. `pin` is put in front of the command
    (`taskset …`)."""
    if shutil.which("wrk"):
        return _wrk(url, connections, seconds, headers, body, pin)
    command = [*pin, sys.executable, "-m", "bench.load", url, str(connections), str(seconds)]
    command += [f"{name}: {value}" for name, value in headers.items()]
    command += ["--post", body] if body is not None else []
    root = Path(__file__).resolve().parent.parent
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout
    rps, requests, p50, p99, errors = out.split()
    return Load(float(rps), int(requests), float(p50), float(p99), int(errors))


_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


_POSTS = """
local count, body = 0, [==[{body}]==]
wrk.headers["Content-Type"] = "application/json"
request = function()
  count = count + 1
  wrk.headers["Idempotency-Key"] = "{prefix}-" .. count
  return wrk.format("POST", nil, nil, body)
end
"""


def _wrk(
    url: str,
    connections: int,
    seconds: int,
    headers: Mapping[str, str],
    body: str | None,
    pin: Sequence[str],
) -> Load:
    command = [*pin, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if body is not None:
            script.write(_POSTS.format(body=body, prefix=secrets.token_hex(6)))
            script.flush()
            command += ["-s", script.name]
        out = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout

    def percentile(which: int) -> float:
        found = re.search(rf"^\s+{which}%\s+([\d.]+)(us|ms|s|m)\s*$", out, re.MULTILINE)
        assert found is not None, out
        return float(found[1]) * _UNITS[found[2]]

    rps = re.search(r"Requests/sec:\s+([\d.]+)", out)
    total = re.search(r"(\d+) requests in", out)
    assert rps is not None, out
    assert total is not None, out
    errors = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", out)))
    sockets = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out
    )
    if sockets is not None:
        errors += sum(map(int, sockets.groups()))
    return Load(float(rps[1]), int(total[1]), percentile(50), percentile(99), errors)


class _Asker(asyncio.Protocol):
    """One connection; counts whole answers with a Content-Length."""

    def __init__(self, raw: Callable[[], bytes], times: list[float], bad: list[int]) -> None:
        self.raw, self.times, self.bad = raw, times, bad
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._ask()

    def _ask(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(self.raw())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if found is None or len(rest) < int(found[1]):
            return
        self.buffer = b""
        self.times.append(time.perf_counter() - self.began)
        if head[9:10] != b"2":
            self.bad[0] += 1
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self.bad[0] += exc is not None


async def _own(url: str, connections: int, seconds: float, body: str, headers: list[str]) -> None:
    address, _, path = url.removeprefix("http://").partition("/")
    host, _, port = address.partition(":")
    content = body.encode()
    if content:
        length = f"Content-Length: {len(content)}"
        headers = [*headers, "Content-Type: application/json", length]
    method = "POST" if content else "GET"
    lines = [f"{method} /{path} HTTP/1.1", f"Host: {address}", *headers, ""]
    head = "\r\n".join(lines).encode()
    prefix, count = secrets.token_hex(6), itertools.count()

    def raw() -> bytes:
        key = f"Idempotency-Key: {prefix}-{next(count)}\r\n".encode() if content else b""
        return b"%b%b\r\n%b" % (head, key, content)

    loop = asyncio.get_running_loop()
    times: list[float] = []
    bad = [0]
    transports = []
    began = time.perf_counter()
    for _ in range(connections):
        transport, _asker = await loop.create_connection(
            lambda: _Asker(raw, times, bad), host, int(port)
        )
        transports.append(transport)
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    for transport in transports:
        transport.abort()
    times.sort()
    p50, p99 = (times[int(len(times) * part)] * 1000 if times else 0.0 for part in (0.5, 0.99))
    print(len(times) / took, len(times), p50, p99, bad[0])


if __name__ == "__main__":
    import uvloop

    _, where, many, long, *more = sys.argv
    post = more.pop() if "--post" in more[-2:-1] else ""
    uvloop.run(_own(where, int(many), float(long), post, more[:-1] if post else more))
