"""What a forked child does: run one program (or all, in one process), or one task, then end."""

import asyncio
import contextlib
import importlib
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

import uvloop

from kit import collector

from . import arming, serving, wire
from .programs import BY_NAME, Program
from .serving import GRACE_SECONDS, Server


def main(message: dict[str, Any], line: int, output: int) -> int:
    """Become what `message` asks for. `line` is the socket to the supervisor, `output` a pipe."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    supervisor = socket.socket(fileno=line)
    threading.Thread(target=_watch, args=(supervisor,), daemon=True, name="lifeline").start()
    if "task" in message:
        return _run_task(message, supervisor)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_host(message["programs"], supervisor))


def _watch(supervisor: socket.socket) -> None:
    """End in order when the supervisor is gone, however it went; after the grace, end anyway."""
    with contextlib.suppress(OSError):
        while supervisor.recv(64):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS + 2)
    os._exit(1)


def _run_task(message: dict[str, Any], supervisor: socket.socket) -> int:
    os.environ.clear()
    os.environ.update(message["env"])
    module, _, function = message["task"].partition(":")
    try:
        getattr(importlib.import_module(module), function)(*message["arguments"])
    except Exception as exc:
        wire.send(supervisor, {"error": f"{type(exc).__name__}: {exc}"})
        raise
    wire.send(supervisor, {"done": True})
    return 0


async def _host(programs: dict[str, dict[str, Any]], supervisor: socket.socket) -> int:
    """Serve the programs (name → env, port, seed) until SIGTERM. Returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    arming.arm(programs)
    servers = [_server(BY_NAME[name], wanted) for name, wanted in programs.items()]
    tasks = [asyncio.create_task(server.serve()) for server in servers]
    try:
        for task, server in zip(tasks, servers, strict=True):
            # uvicorn has no event to wait for
            while not server.started and not task.done() and not stop.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        for name, server in zip(programs, servers, strict=True):
            if programs[name].get("seed") and server.started and not stop.is_set():
                await _seed(BY_NAME[name], server)
                wire.send(supervisor, {"seeded": name})
        collector.quieten()
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
    finally:
        for server in servers:
            server.should_exit = True
        results = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [r for r in results if isinstance(r, BaseException)]
    for problem in failed:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
    return 1 if failed or not stop.is_set() else 0


def _server(program: Program, wanted: dict[str, Any]) -> Server:
    os.environ.clear()
    os.environ.update(wanted["env"])
    return Server(serving.config(program, "127.0.0.1", wanted["port"]))


async def _seed(program: Program, server: Server) -> None:
    seed = importlib.import_module(f"{program.package}.seed").seed
    await seed(server.config.app.state.runtime)  # type: ignore[union-attr]
