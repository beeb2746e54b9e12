"""The beam: all that the connections of one gateway share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from kit.auth import Keyring
from kit.calls import OwnToken
from kit.peers import Peers
from kit.telemetry import BufferedLines
from kit.traces import Tracer

from .cache import Cache
from .certificate import CertificateWatch
from .cors import Stamps
from .counters import Counters
from .exchange import Exchange
from .limits import Limiter
from .matching import Table
from .pillars import Shelf
from .pools import Pool
from .records import Refusals
from .settings import GatewaySettings
from .table import RATES, ROUTES, SERVICES, Route

if TYPE_CHECKING:
    from uvicorn._types import HTTPScope

    from .protocol import BeamProtocol

log = logging.getLogger(__name__)
SWEEP_SECONDS = 0.25
LOCAL_SECONDS = 15.0


class Beam:
    """Table, pools, keys, limits and counters of one gateway. Made inside its event loop."""

    def __init__(
        self,
        settings: GatewaySettings,
        keyring: Keyring,
        tracer: Tracer | None = None,
        routes: Sequence[Route] = ROUTES,
    ) -> None:
        self.settings = settings
        self.tracer = tracer
        self.keyring = keyring
        self.cache = Cache(settings.gateway_cache_bytes)
        self.pools = {
            service: Pool(
                service,
                settings.url_of(service),
                cache=self.cache,
                limit=settings.gateway_upstream_connections,
                queue=settings.gateway_queue,
                queue_seconds=settings.gateway_queue_seconds,
                connect_seconds=settings.gateway_connect_seconds,
                idle_seconds=settings.gateway_upstream_idle_seconds,
                life_seconds=settings.gateway_upstream_life_seconds,
            )
            for service in SERVICES
        }
        self.table: Table[tuple[Route, Pool | None]] = Table(
            (route, (route, self.pools.get(route.service))) for route in routes
        )
        rate, burst = settings.gateway_rate, settings.gateway_burst
        self.limiter = Limiter(rate, burst)
        self.tighter = {
            r.name: Limiter(rate * r.rate, max(1, int(burst * r.burst)), r.name) for r in RATES
        }
        self.counters = Counters()
        self.door = CertificateWatch(settings.issuer)
        self.refusals = Refusals()
        self.own_token = OwnToken(
            settings.service, settings.service_secret.get_secret_value(), settings.token_url
        )
        self.shelf = Shelf()
        self.stamps = Stamps(settings)
        self.trusted = Peers(settings.gateway_trusted_proxies)
        self.clients: set[BeamProtocol] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def patience(self, x: Exchange) -> float:
        """Seconds without a sign of life from whoever answers this request."""
        return x.route.seconds if x.route is not None else LOCAL_SECONDS

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def sweep(self, logs: BufferedLines) -> None:
        """End what has waited too long: one timer for all connections instead of one each.
        Write out the log lines that have gathered."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = loop.time()
            for client in [c for c in self.clients if c.deadline < now]:
                try:
                    client.expire()
                except Exception:
                    # The patience with all the others hangs on this loop.
                    log.exception("a connection could not be ended as it should")
                    client.transport.abort()
            self.refusals.tell()
            logs.flush()

    def close(self) -> None:
        for pool in self.pools.values():
            pool.close()

    def scope(self, x: Exchange, client: BeamProtocol) -> HTTPScope:
        """The ASGI scope of a request for one of the house's own pages."""
        raw_path, _, query = x.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": client.asgi_version, "spec_version": "2.3"},
            "http_version": "1.0" if x.old else "1.1",
            "server": client.server,
            "client": client.client,
            "scheme": client.scheme or "http",
            "root_path": client.root_path,
            "method": x.method.decode("ascii"),
            "path": unquote(raw_path.decode("ascii")),
            "raw_path": raw_path,
            "query_string": query,
            "headers": [(n, v) for n, v in x.headers if n != b"x-request-id"]
            + [(b"x-request-id", x.request_id)],
            "state": client.app_state.copy(),
        }
