"""Outbound HTTP: plain httpx with time-outs everywhere and a circuit breaker per peer."""

import time
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

import httpx
from prometheus_client import Counter, Histogram

from . import context, traces

TIMEOUT = httpx.Timeout(5.0, connect=2.0, pool=2.0)
LIMITS = httpx.Limits(max_connections=50, max_keepalive_connections=20, keepalive_expiry=4)
"""Our servers end a connection after five idle seconds, perhaps just when it is used again."""
_BROKEN_OFF = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
_ONLY_READ = ("GET", "HEAD")
CALLS = Counter(
    "beam_outbound_requests_total",
    "Requests to others by outcome: answered, failed (5xx of a gateway), silent, circuit_open",
    ["service", "peer", "outcome"],
)
SECONDS = Histogram(
    "beam_outbound_request_seconds",
    "Time until the head of the answer",
    ["service", "peer"],
    buckets=(0.01, 0.05, 0.2, 0.5, 1, 2.5, 5),
)


class CircuitOpen(httpx.TransportError):
    """The peer failed repeatedly and is left alone for a moment; nothing was sent."""


class Breaker(httpx.AsyncBaseTransport):
    """Opens after `limit` failures in a row (no answer, or 5xx of a gateway), lets one request
    try again after `rest` seconds, closes on its success."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        *,
        peer: str = "unknown",
        limit: int = 5,
        rest: float = 3.0,
    ) -> None:
        self._inner, self._limit, self._rest = inner, limit, rest
        self.service, self.peer = context.service.get(), peer
        self._failures = 0
        self._open_until = 0.0
        _breakers.add(self)

    @property
    def is_open(self) -> bool:
        return self._failures >= self._limit and time.monotonic() < self._open_until

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.is_open:
            self._count("circuit_open")
            raise CircuitOpen("circuit open", request=request)
        if self._failures >= self._limit:
            self._open_until = time.monotonic() + self._rest
        with traces.span(
            f"{request.method} {self.peer}",
            traces.CLIENT,
            http_request_method=request.method,
            peer_service=self.peer,
        ) as span:
            if "traceparent" in request.headers:
                request.headers["traceparent"] = span.traceparent
            began = time.perf_counter()
            try:
                response = await self._ask(request)
            except httpx.TransportError:
                self._failed("silent")
                raise
            SECONDS.labels(self.service, self.peer).observe(time.perf_counter() - began)
            span.attributes["http_response_status__code"] = response.status_code
            if response.status_code in (502, 503, 504):
                span.error = str(response.status_code)
                self._failed("failed")
            else:
                self._count("answered")
                self._failures = 0
        return response

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        """A connection that is kept ends when its peer restarts or tires of it, and it may do so
        under a request: what only reads is then asked once more."""
        try:
            return await self._inner.handle_async_request(request)
        except _BROKEN_OFF:
            if request.method not in _ONLY_READ:
                raise
        return await self._inner.handle_async_request(request)

    def _failed(self, outcome: str) -> None:
        self._count(outcome)
        self._failures += 1
        self._open_until = time.monotonic() + self._rest

    def _count(self, outcome: str) -> None:
        CALLS.labels(self.service, self.peer, outcome).inc()

    async def aclose(self) -> None:
        await self._inner.aclose()


_breakers: WeakSet[Breaker] = WeakSet()


def breakers_of(service: str) -> list[Breaker]:
    """The breakers that this service has open clients for, by peer."""
    return sorted((b for b in _breakers if b.service == service), key=lambda b: b.peer)


class _Client(httpx.AsyncClient):
    async def send(self, request: httpx.Request, **how: Any) -> httpx.Response:
        answer = await super().send(request, **how)
        if answer.is_closed:
            # Its stream knows the answer, and the answer its stream: with all that belongs to them
            # (request, fields, body) they would lie there until the collector of cycles comes by.
            answer.stream = httpx.ByteStream(b"")
        return answer


def open_client(
    base_url: str, *, timeout: httpx.Timeout = TIMEOUT, peer: str = ""
) -> httpx.AsyncClient:
    """A client for one peer; build it once, share it, close it at the end. `peer` is its name in
    figures and traces (default: the host)."""
    transport = Breaker(
        httpx.AsyncHTTPTransport(limits=LIMITS, retries=1),
        peer=peer or urlsplit(base_url).hostname or "unknown",
    )
    return _Client(base_url=base_url, transport=transport, timeout=timeout, trust_env=False)
