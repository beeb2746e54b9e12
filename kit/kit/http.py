"""Outbound HTTP: plain httpx with time-outs everywhere and a circuit breaker per peer."""

import time

import httpx

TIMEOUT = httpx.Timeout(5.0, connect=2.0, pool=2.0)
LIMITS = httpx.Limits(max_connections=50, max_keepalive_connections=20, keepalive_expiry=15)


class CircuitOpen(httpx.TransportError):
    """The peer failed repeatedly and is left alone for a moment; nothing was sent."""


class Breaker(httpx.AsyncBaseTransport):
    """Opens after `limit` failures in a row (no answer, or 5xx of a gateway), lets one request
    try again after `rest` seconds, closes on its success."""

    def __init__(
        self, inner: httpx.AsyncBaseTransport, *, limit: int = 5, rest: float = 3.0
    ) -> None:
        self._inner, self._limit, self._rest = inner, limit, rest
        self._failures = 0
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self._limit and time.monotonic() < self._open_until

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.is_open:
            raise CircuitOpen("circuit open", request=request)
        if self._failures >= self._limit:
            self._open_until = time.monotonic() + self._rest
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.TransportError:
            self._failed()
            raise
        if response.status_code in (502, 503, 504):
            self._failed()
        else:
            self._failures = 0
        return response

    def _failed(self) -> None:
        self._failures += 1
        self._open_until = time.monotonic() + self._rest

    async def aclose(self) -> None:
        await self._inner.aclose()


def open_client(base_url: str, *, timeout: httpx.Timeout = TIMEOUT) -> httpx.AsyncClient:
    """A client for one peer; build it once, share it, close it at the end."""
    transport = Breaker(httpx.AsyncHTTPTransport(limits=LIMITS, retries=1))
    return httpx.AsyncClient(
        base_url=base_url, transport=transport, timeout=timeout, trust_env=False
    )
