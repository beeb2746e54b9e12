"""How a program is served: its settings from the environment, uvicorn set up as it wants."""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import uvicorn

from .programs import Program

GRACE_SECONDS = 10
"""Time that requests in flight have to finish when a service stops."""


class Server(uvicorn.Server):
    """Several may share a process, so the signals are the host's, not each server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def settings_class(program: Program) -> Any:
    """The class whose instances read the program's settings from the environment."""
    module = importlib.import_module(f"{program.package}.settings")
    for name in ("Settings", f"{program.name.capitalize()}Settings"):
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"{module.__name__} has no Settings")


def config(program: Program, host: str, port: int) -> uvicorn.Config:
    """The program, built from the environment, ready to be served."""
    settings = settings_class(program)()
    if program.kind == "gateway":
        # It knows for itself how it must be served: its proxy lane is a protocol class.
        made: uvicorn.Config = importlib.import_module(f"{program.package}.server").config(settings)
        return made
    return uvicorn.Config(
        importlib.import_module(f"{program.package}.main").create_app(settings),
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        # Who calls is the gateway, or said in a header that a service judges for itself.
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
