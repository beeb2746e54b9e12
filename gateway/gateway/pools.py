"""Connections to the services: one pool each, last used first, and the reading of answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from .cache import Cache
from .congestion import PATIENT_SECONDS, Window
from .exchange import Exchange
from .upstreams import UpstreamConnection

Lookup = Callable[..., Awaitable[Sequence[Any]]]
"""As `loop.getaddrinfo`."""


class Breaker:
    """Leaves a service alone that gave no answer `limit` times in a row; then one request in
    `rest` seconds finds out whether it is back. An answer of any status closes it."""

    __slots__ = ("_open_until", "failures", "limit", "rest")

    def __init__(self, limit: int = 10, rest: float = 1.0) -> None:
        self.limit, self.rest = limit, rest
        self.failures = 0
        self._open_until = 0.0

    def lets_through(self, now: float) -> bool:
        if self.failures < self.limit:
            return True
        if now < self._open_until:
            return False
        self._open_until = now + self.rest
        return True

    def failed(self, now: float) -> None:
        self.failures += 1
        self._open_until = now + self.rest


class Pool:
    """The connections to one service. `send` gives an exchange the next free one."""

    def __init__(
        self,
        service: str,
        url: str,
        *,
        cache: Cache,
        limit: int,
        queue: int,
        queue_seconds: float,
        connect_seconds: float,
        idle_seconds: float,
        life_seconds: float,
    ) -> None:
        parts = urlsplit(url)
        self.service, self.cache = service, cache
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80
        self.start_line_end = b" HTTP/1.1\r\nhost: %s\r\n" % parts.netloc.encode()
        self.limit, self.connect_seconds, self.idle_seconds = limit, connect_seconds, idle_seconds
        self.life_seconds = life_seconds
        self.queue, self.queue_seconds = queue, queue_seconds
        self.breaker = Breaker()
        self.window = Window(limit)
        self.asked = 0
        """Requests that the service has and has not begun to answer; how fast a client reads its
        answer says nothing of the service."""
        self.shed = 0
        """Requests that were turned away because too many were here already."""
        self._turn = 0
        self.loop = asyncio.get_running_loop()
        self.heard = self.loop.time()
        """When an answer last came to its end, or nobody waited for one."""
        self.silent = False
        """It takes requests and answers none, see `silence`."""
        self.lookup: Lookup = self.loop.getaddrinfo
        self.idle: list[UpstreamConnection] = []
        self.waiting: deque[Exchange] = deque()
        self.connections: set[UpstreamConnection] = set()
        self.connecting: set[asyncio.Task[None]] = set()

    def send(self, x: Exchange, *, fresh: bool = False) -> None:
        """Hand the request to a pooled connection, to a new one (`fresh`, or none was free), or
        let it wait for one when the service has as many as it may. Turned away at once: what finds
        the queue full, and everything while the service is known to be away."""
        now = self.loop.time()
        if self.silent or (self.breaker.failures and not self.breaker.lets_through(now)):
            x.client.refuse(x, "unavailable")
            return
        idle = self.idle
        used = self.asked + len(self.connecting)
        if used >= self.window.size and not fresh:
            self._queue(x, used, now)
            return
        if not fresh:
            horizon = now - self.idle_seconds
            while idle:
                connection = idle.pop()
                if connection.since > horizon:
                    connection.take(x, now)
                    return
                connection.transport.close()
        if len(self.connections) + len(self.connecting) >= self.limit:
            self._queue(x, used, now)
        else:
            self._open(x)

    def _queue(self, x: Exchange, used: int, now: float) -> None:
        """Let it wait, unless the queue is full, does not move, or is too long for how quickly it
        does: better told at once than late."""
        waiting = self.waiting
        while waiting and waiting[0].over:
            waiting.popleft()
        if len(waiting) >= self.queue:
            waiting = self.waiting = deque(known for known in waiting if not known.over)
        stuck = bool(waiting) and now - waiting[0].queued > self.queue_seconds
        # Less than what is waited for: the guess lags behind, and who was let in is to be served.
        stuck = stuck or self.window.wait(len(waiting), used) > 0.5 * self.queue_seconds
        if stuck or len(waiting) >= self.queue:
            self.shed += 1
            x.client.refuse(x, "overloaded")
        else:
            x.queued = now
            waiting.append(x)

    def release(self, connection: UpstreamConnection) -> None:
        """A connection is free: the longest waiting request gets it, if the service is to have so
        many at once."""
        self.heard = now = self.loop.time()
        waiting = self.waiting
        if waiting:
            while waiting and self.asked + len(self.connecting) < self.window.size:
                x = waiting.popleft()
                if x.over:
                    continue
                if waiting and now - x.queued > 1.5 * self.queue_seconds:
                    # It came before the rush showed; those behind it are to be in time.
                    self.shed += 1
                    x.client.refuse(x, "overloaded")
                    continue
                connection.take(x, now)
                return
        connection.since = now
        if now - connection.born > self.life_seconds:
            # New replicas get their share only from new connections.
            connection.transport.close()
        else:
            self.idle.append(connection)

    def answered(self, x: Exchange, taken: float) -> None:
        """The service has begun to answer what it was given at `taken`: so quickly is it now."""
        if x.route is not None and x.route.seconds < PATIENT_SECONDS:
            now = self.loop.time()
            self.window.answered(now - taken, self.asked, now)
        self.asked -= 1

    def lost(self, connection: UpstreamConnection) -> None:
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        self.open_for_waiting()

    def close(self) -> None:
        for task in self.connecting:
            task.cancel()
        for connection in list(self.connections):
            connection.transport.abort()

    def open_for_waiting(self) -> None:
        while (
            self.waiting
            and self.asked + len(self.connecting) < self.window.size
            and len(self.connections) + len(self.connecting) < self.limit
        ):
            x = self.waiting.popleft()
            if not x.over:
                self._open(x)

    def _open(self, x: Exchange) -> None:
        task = self.loop.create_task(self._connect(x))
        self.connecting.add(task)
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self.connecting.discard(task)
        self.open_for_waiting()

    async def _connect(self, x: Exchange) -> None:
        try:
            connection = await self._reach()
        except TimeoutError:
            self.breaker.failed(self.loop.time())
            x.client.refuse(x, "connect_timeout")
        except OSError:
            self.breaker.failed(self.loop.time())
            x.client.refuse(x, "unavailable")
        else:
            if x.over:
                self.release(connection)
            else:
                connection.take(x, self.loop.time())

    async def _reach(self) -> UpstreamConnection:
        """A connection to the next replica in turn. One that is not there is passed over; all
        together have `connect_seconds`. Raises TimeoutError or OSError."""
        async with asyncio.timeout(self.connect_seconds):
            found = await self.lookup(self.host, self.port, type=socket.SOCK_STREAM)
            addresses = sorted({str(info[4][0]) for info in found})
            self._turn += 1
            first = self._turn % len(addresses)
            *others, last = addresses[first:] + addresses[:first]
            for address in others:
                with contextlib.suppress(OSError):  # of which TimeoutError is one
                    async with asyncio.timeout(self.connect_seconds / len(addresses)):
                        return await self._dial(address)
            return await self._dial(last)

    async def _dial(self, address: str) -> UpstreamConnection:
        _, connection = await self.loop.create_connection(
            lambda: UpstreamConnection(self), address, self.port
        )
        return connection
