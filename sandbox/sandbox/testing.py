"""Test helpers: the sandbox as a process of its own, and a receiver for its call-backs."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import Receive, Scope, Send

from . import keys


@dataclass
class Sandbox:
    """The sandbox as a real server on a free port. `url` is its address, `keys` its key folder.

    `options` are settings by their names, such as `retry_factor=0.01`.
    """

    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.port = self.port or free_port()
        keys.provision(self.keys)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def keys(self) -> Path:
        """The folder of keys; all in it but `platform` is what the services are given."""
        return self.folder / "keys"

    async def start(self) -> None:
        """Start it, also again after `stop` or `kill`, and wait until it is ready."""
        process = self._process = self._spawn()
        async with httpx.AsyncClient(base_url=self.url, timeout=20, trust_env=False) as client:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                if process.poll() is not None:
                    break
                try:
                    if (await client.get("/health/ready")).status_code == 200:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        raise RuntimeError((self.folder / "sandbox.log").read_text()[-2000:])

    def kill(self) -> None:
        """As a power cut: no chance to write anything more."""
        self._end(force=True)

    def stop(self) -> None:
        """In good order."""
        self._end(force=False)

    async def sim(self, path: str, **body: Any) -> Any:
        """POST to the control API, such as `sim("wechat/pay", out_trade_no=…)`; its answer."""
        async with httpx.AsyncClient(base_url=self.url, timeout=20, trust_env=False) as client:
            answer = await client.post(f"/_sim/{path}", json=body)
            answer.raise_for_status()
            return answer.json() if answer.content else None

    async def book(self, channel: str) -> Any:
        """What `wechat` or `sf` has in its book."""
        async with httpx.AsyncClient(base_url=self.url, timeout=20, trust_env=False) as client:
            answer = await client.get(f"/_sim/{channel}/book")
            answer.raise_for_status()
            return answer.json()

    def _spawn(self) -> subprocess.Popen[bytes]:
        given = {
            "port": self.port,
            "base_url": self.url,
            "data": self.folder / "data",
            "keys": self.keys,
            "hang_seconds": 20,
            "retry_factor": 0.01,
            "refund_seconds": 0.2,
            "magic_step_seconds": 0.1,
            **self.options,
        }
        environment = {f"BEAM_SANDBOX_{name.upper()}": str(value) for name, value in given.items()}
        path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        with (self.folder / "sandbox.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "sandbox"],
                env={**os.environ, **environment, "PYTHONPATH": path},
                stdout=log,
                stderr=log,
            )

    def _end(self, *, force: bool) -> None:
        if self._process is not None:
            (self._process.kill if force else self._process.terminate)()
            self._process.wait(30)
            self._process = None


@asynccontextmanager
async def sandbox(folder: Path, **options: Any) -> AsyncIterator[Sandbox]:
    """A running sandbox, ended at the end."""
    running = Sandbox(folder, options)
    await running.start()
    try:
        yield running
    finally:
        running.kill()


@dataclass(frozen=True, slots=True)
class Call:
    """One call-back as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


Reply = tuple[int, bytes]


class Listener:
    """Receives call-backs on a free port. `reply` decides the answer to each; `calls` are all."""

    def __init__(self, reply: Callable[[Call], Reply] = lambda _: (204, b"")) -> None:
        self.reply = reply
        self.calls: list[Call] = []
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def wait(self, count: int, seconds: float = 20) -> list[Call]:
        """The calls, once there are at least `count`."""
        until = time.monotonic() + seconds
        while len(self.calls) < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{len(self.calls)} of {count} call-backs came")
            await asyncio.sleep(0.02)
        return self.calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        call = Call(scope["path"], headers, body)
        self.calls.append(call)
        status, content = self.reply(call)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": content})


@asynccontextmanager
async def listening(
    reply: Callable[[Call], Reply] = lambda _: (204, b""), port: int = 0
) -> AsyncIterator[Listener]:
    """A running Listener."""
    listener = Listener(reply)
    listener.port = port or free_port()
    config = uvicorn.Config(
        listener, port=listener.port, lifespan="off", ws="none", log_level="critical"
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            await task
        await asyncio.sleep(0.01)
    try:
        yield listener
    finally:
        server.should_exit = True
        await task


def free_port() -> int:
    """A TCP port that is free right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
