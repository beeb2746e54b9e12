"""Serves the gateway: uvicorn with the proxy lane, uvloop where there is one, a quiet collector."""

import socket
from collections.abc import Sequence

import uvicorn

from kit import collector

from .main import create_app
from .protocol import BeamProtocol
from .settings import GatewaySettings
from .table import ROUTES, Route


def config(settings: GatewaySettings, table: Sequence[Route] = ROUTES) -> uvicorn.Config:
    """How uvicorn has to be set up for the gateway; also for hosting it in a running loop:
    `await uvicorn.Server(config(settings)).serve(sockets)`."""
    return uvicorn.Config(
        create_app(settings, table=table),
        host=settings.gateway_host,
        port=settings.gateway_port,
        http=BeamProtocol,
        ws="none",
        loop="auto",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=4096,
        timeout_graceful_shutdown=settings.gateway_drain_seconds,
    )


def run(
    settings: GatewaySettings | None = None, sockets: list[socket.socket] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Listens on `sockets` if given, else on the host
    and port of the settings."""
    settings = settings or GatewaySettings()
    server = uvicorn.Server(config(settings))
    collector.quieten()
    server.run(sockets)


if __name__ == "__main__":
    run()
