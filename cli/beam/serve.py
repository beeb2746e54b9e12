"""`beam serve NAME`: one program as a process of its own, as a container runs it.

At SIGTERM it first drains: it says that it is not ready and closes every connection after its next
answer, so that whoever keeps connections to it goes elsewhere; then it stops listening, finishes
what is in flight, and ends with 0. A second signal skips the draining.
"""

import asyncio
import os
import signal
from typing import Any

import uvloop
from pydantic import ValidationError

from kit import collector

from . import serving, setting_files
from .programs import Program
from .trouble import Trouble

DRAIN_SECONDS = 5.0
"""Longer than the gateway keeps an idle connection to a service (4 s)."""
_NOT_READY = b'{"status":"not ready","reasons":["draining"]}'


class Draining:
    """An app that can be asked to send its callers elsewhere."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.on = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not self.on or scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def closing(message: Any) -> None:
            if message["type"] == "http.response.start":
                kept = [(n, v) for n, v in message.get("headers", ()) if n.lower() != b"connection"]
                message = {**message, "headers": [*kept, (b"connection", b"close")]}
            await send(message)

        if scope["path"] == "/health/ready":
            kind = (b"content-type", b"application/json")
            await closing({"type": "http.response.start", "status": 503, "headers": [kind]})
            await closing({"type": "http.response.body", "body": _NOT_READY})
            return
        await self._app(scope, receive, closing)


def run(program: Program) -> int:
    """Serve until SIGTERM; the exit code. Raises Trouble for a wrong setting, naming it."""
    settings = serving.settings_class(program)
    setting_files.read(os.environ, setting_files.names_of(settings))
    drain = _seconds("BEAM_DRAIN_SECONDS", DRAIN_SECONDS)
    port = _port("BEAM_PORT", 8000)
    try:
        setting_files.check_keys(settings())
        config = serving.config(program, os.environ.get("BEAM_HOST", "127.0.0.1"), port)
    except ValidationError as problem:
        raise setting_files.wrong(settings, problem) from None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(config, drain if program.kind == "service" else 0.0))


def _port(name: str, otherwise: int) -> int:
    said = os.environ.get(name, str(otherwise))
    if not (said.isascii() and said.isdigit() and 0 < int(said) < 65536):
        raise Trouble(f"{name} 应为 1 到 65535 的端口号。", f"{name} must be a port, 1 to 65535.")
    return int(said)


def _seconds(name: str, otherwise: float) -> float:
    try:
        return float(os.environ.get(name, otherwise))
    except ValueError:
        raise Trouble(f"{name} 应为秒数。", f"{name} must be a number of seconds.") from None


async def _serve(config: Any, drain_seconds: float) -> int:
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    draining = None
    if drain_seconds:
        config.app = draining = Draining(config.app)
    server = serving.Server(config)
    serve = asyncio.create_task(server.serve())
    # uvicorn has no event to wait for
    while not server.started and not serve.done() and not stop.is_set():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    collector.quieten()
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([stopped, serve], return_when=asyncio.FIRST_COMPLETED)
    if draining is not None and not serve.done():
        draining.on = True
        await asyncio.wait(
            [asyncio.create_task(hurry.wait()), serve],
            timeout=drain_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
    server.should_exit = True
    await serve
    stopped.cancel()
    return 0 if server.started and stop.is_set() else 1
