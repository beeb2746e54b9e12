"""Imports everything once, then forks: eight services in the time and memory of two.

Started by the supervisor as `python -m beam.zygote FD RUN_FILE`. It answers one request at a time
over the socket FD and has a single thread and no event loop, so that forking is safe. What it
forked does not depend on it: each child watches a line of its own to the supervisor.
"""

import gc
import importlib
import importlib.util
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from . import child, wire
from .programs import PROGRAMS, SERVICES

# What the programs would import only when they first need it.
_LATE = (
    "uvloop",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.httptools_impl",
    "sqlalchemy.dialects.postgresql.asyncpg",
)


class Zygote:
    """The imported world and its children."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._ended: dict[int, int] = {}
        self._children: set[int] = set()
        self._missing: list[str] = []
        self._seconds = 0.0

    def load(self) -> None:
        """Import every program that is there, and freeze what was made."""
        began = time.monotonic()
        gc.disable()
        # httpx tries to import its command line, and with it click, rich and pygments.
        sys.modules["httpx._main"] = None  # type: ignore[assignment]
        for program in PROGRAMS:
            if importlib.util.find_spec(f"{program.package}.main") is None:
                self._missing.append(program.name)
                continue
            importlib.import_module(f"{program.package}.main")
            importlib.import_module(f"{program.package}.settings")
            for room in ("models", "subscribers", "seed", "server", "keys"):
                if importlib.util.find_spec(f"{program.package}.{room}") is not None:
                    importlib.import_module(f"{program.package}.{room}")
        for name in _LATE:
            if name.partition(".")[0] in sys.modules:
                importlib.import_module(name)
        gc.collect()
        gc.freeze()
        gc.enable()
        self._seconds = time.monotonic() - began

    def serve(self) -> None:
        """Answer until the supervisor is gone."""
        while (request := wire.receive(self._control)) is not None:
            message, files = request
            self._reap()
            match message["op"]:
                case "inventory":
                    answer = self._inventory()
                case "import":
                    importlib.import_module(message["module"])
                    answer = {"done": True}
                case "fork":
                    answer = {"pid": self._fork(message, files)}
                case "status":
                    answer = {"code": self._status(message["pid"])}
                case other:
                    raise ValueError(f"unknown request {other!r}")
            for file in files:
                os.close(file)
            wire.send(self._control, answer)

    def bury(self) -> None:
        """The supervisor is gone, which the children see on their own lines: wait for them."""
        deadline = time.monotonic() + 20
        while self._children and time.monotonic() < deadline:
            self._reap()
            select.select((), (), (), 0.02)

    def _inventory(self) -> dict[str, Any]:
        durables = {}
        for program in SERVICES:
            subscribers = sys.modules.get(f"{program.package}.subscribers")
            on = getattr(subscribers, "on", None)
            if on is not None:
                durables[program.name] = [name for name, _ in on.durables(program.name)]
        return {
            "durables": durables,
            "tables": [p.package for p in SERVICES if f"{p.package}.models" in sys.modules],
            "missing": self._missing,
            "seconds": self._seconds,
            "seeds": [p.name for p in SERVICES if f"{p.package}.seed" in sys.modules],
        }

    def _fork(self, message: dict[str, Any], files: list[int]) -> int:
        if threading.active_count() != 1:
            raise RuntimeError("an import started a thread: forking would be unsafe")
        pid = os.fork()
        if pid:
            self._children.add(pid)
            return pid
        code = 1
        try:
            self._control.close()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            code = child.main(message, *files)
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 1
            if isinstance(exc.code, str):
                print(exc.code, file=sys.stderr)
        except BaseException:  # noqa: BLE001  the fork must never return into the zygote's loop
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            self._ended[pid] = os.waitstatus_to_exitcode(status)

    def _status(self, pid: int) -> int | None:
        """The exit code of a child whose line was closed, waiting a moment for the rest of it."""
        deadline = time.monotonic() + 1
        while pid in self._children and time.monotonic() < deadline:
            self._reap()
            select.select((), (), (), 0.005)  # as time.sleep, also under libfaketime
        return self._ended.pop(pid, None)


def main() -> None:
    # Ctrl-C is the supervisor's to hear; our end is the end of the control socket.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    zygote = Zygote(control)
    zygote.load()
    zygote.serve()
    # A supervisor that was killed leaves a file that says all is well.
    Path(sys.argv[2]).unlink(missing_ok=True)
    zygote.bury()


if __name__ == "__main__":
    main()
