"""One connection to a service: a request goes out, its answer is written to the client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httptools

from .cache import MOST_BYTES
from .exchange import FLOWING, IDEMPOTENT, Exchange
from .refusals import STATUS_LINES

if TYPE_CHECKING:
    from .pools import Pool

MAX_ANSWER_HEAD = 256 * 1024
_DROP, _LENGTH, _CODING = range(3)
_FIELDS = {
    **dict.fromkeys(
        (b"connection", b"keep-alive", b"upgrade", b"trailer", b"server", b"x-request-id",
         b"proxy-authenticate", b"proxy-connection",
         # said by us alone
         b"x-content-type-options", b"strict-transport-security", b"access-control-allow-origin",
         b"access-control-allow-methods", b"access-control-allow-headers",
         b"access-control-allow-credentials", b"access-control-expose-headers",
         b"access-control-max-age"),
        _DROP,
    ),
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
}  # fmt: skip


_known: dict[bytes, int | bytes] = {}
"""What to do with a field, by its name as services spell it: drop or note it, or pass it on under
this name."""
_MOST_NAMES = 2000


def _learn(name: bytes) -> int | bytes:
    lower = name.lower()
    kind = _FIELDS.get(lower, lower)
    if len(_known) < _MOST_NAMES and len(name) < 64:
        _known[name] = kind
    return kind


class UpstreamConnection(asyncio.Protocol):
    """One connection to a service; carries one exchange at a time and writes its answer,
    head put together anew, straight to the client's connection."""

    transport: asyncio.Transport

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.exchange: Exchange | None = None
        self.uses = 0
        self.since = 0.0
        self.taken = 0.0
        self._asking = False
        self.born = pool.loop.time()
        self.stopped = False
        """The service reads no faster: the client's body has to wait."""
        self._held = False
        self._broken = False
        self._reset()

    def _reset(self) -> None:
        self._head: list[bytes] = []
        self._out: list[bytes] = []
        self._length: bytes | None = None
        self._coded = False
        self._chunking = False
        self._head_done = False
        self._bodyless = False
        self._ended = False
        """The answer is whole as far as the client is concerned."""
        self._parsed = False
        """The parser stands between two messages."""
        self._keep = False
        self._bytes = 0
        self._most = MAX_ANSWER_HEAD
        self._copy: list[bytes] | None = None
        """The body, where it may be kept."""
        self._copied = 0

    # From the exchange

    def take(self, x: Exchange, now: float) -> None:
        """Carry this exchange: send what has arrived of the request."""
        self.exchange = x
        self.taken = now
        self._asking = True
        self.pool.asked += 1
        x.upstream = self
        x.stage = FLOWING
        if x.raw is not None:
            data = x.raw
        else:
            data = x.framed()
            if x.complete and x.method in IDEMPOTENT:
                x.raw = data
        self.uses += 1
        self.transport.write(data)
        if x.client.flow.read_paused:
            x.client.regulate()

    def push(self, x: Exchange) -> None:
        """Send what has arrived of the body since."""
        data = x.framed()
        if data:
            self.transport.write(data)

    def hold(self) -> None:
        """The client reads no faster: let the service wait."""
        self._held = True
        self.transport.pause_reading()

    def let_go(self) -> None:
        if self._held:
            self._held = False
            self.transport.resume_reading()

    def abandon(self) -> None:
        """The client is gone or was told something else: what the service says now is lost."""
        self.exchange = None
        self.transport.abort()

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)
        self.pool.connections.add(self)

    def data_received(self, data: bytes) -> None:
        x = self.exchange
        if x is None:
            # Nobody asked: whatever this is, no request may get it as its answer.
            self.transport.abort()
            return
        self._bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._broken = True
        if (self._broken and not self._ended) or self._bytes > self._most:
            self.exchange = None
            self.transport.abort()
            x.client.upstream_failed(x)
            return
        out = self._out
        if out:
            self._out = []
            x.client.write_answer(x, b"".join(out), self._ended)
        if self._ended:
            self._finish(x)
        elif self._head_done and self.pool.waiting:
            # A long answer holds its connection, not its place with the service.
            self.pool.open_for_waiting()

    def eof_received(self) -> None:
        x = self.exchange
        if x is None or not self._head_done or self._ended:
            return
        if self._length is None and not self._coded and not self._bodyless:
            # An answer without a length ends with the connection.
            if self._chunking:
                x.client.write_answer(x, b"0\r\n\r\n", True)
            self._broken = True
            self._finish(x)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._asking:
            self._asking = False
            self.pool.asked -= 1
        self.pool.lost(self)
        del self._parser  # it knows us: we would both wait for the collector of cycles
        x, self.exchange = self.exchange, None
        if x is None or x.over:
            return
        x.upstream = None
        if x.raw is not None and not x.retried and self._bytes == 0:
            # A pooled connection that the service had closed, or a replica that died with the
            # request: nothing was answered, and doing it twice does no harm. Once, on a connection
            # of its own.
            x.retried = True
            self.pool.send(x, fresh=True)
        else:
            if not self._head_done:
                self.pool.breaker.failed(self.pool.loop.time())
            x.client.upstream_failed(x)

    def pause_writing(self) -> None:
        self.stopped = True
        if self.exchange is not None:
            self.exchange.client.regulate()

    def resume_writing(self) -> None:
        self.stopped = False
        if self.exchange is not None:
            self.exchange.client.regulate()

    # From the parser

    def on_message_begin(self) -> None:
        if self._parsed:
            self._broken = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return
        kind = _known.get(name)
        if kind is None:
            kind = _learn(name)
        if isinstance(kind, bytes):
            self._head += (kind, b": ", value, b"\r\n")
        elif kind == _LENGTH:
            self._length = value
        elif kind == _CODING:
            self._coded = True

    def on_headers_complete(self) -> None:
        x = self.exchange
        if x is None or self._parsed:
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                self._broken = True
            self._head, self._length, self._coded = [], None, False
            return
        self._head_done = True
        self._asking = False
        self.pool.breaker.failures = 0
        self.pool.answered(x, self.taken)
        if x.route is not None:
            self._most = MAX_ANSWER_HEAD + x.route.answer_limit
            # A length is digits alone: the parser has seen to that.
            if self._length is not None and len(self._length) > 6 and x.method != b"HEAD":
                self._broken = int(self._length) > x.route.answer_limit
        self._out = self._answer_head(x, status)
        x.status = status
        if x.cache_key is not None and status == 200:
            self._copy = []
        if self._bodyless:
            self._ended = True

    def _answer_head(self, x: Exchange, status: int) -> list[bytes]:
        out = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        out += self._head
        self._bodyless = x.method == b"HEAD" or status in (204, 304)
        if self._length is not None:
            if status != 204:
                out += (b"content-length: ", self._length.strip(), b"\r\n")
        elif not self._bodyless:
            if x.old:
                x.keep = False
            else:
                self._chunking = True
                out.append(b"transfer-encoding: chunked\r\n")
        out += (b"x-request-id: ", x.request_id, b"\r\n", x.stamp)
        if x.quota:
            out.append(x.quota)
        if x.client.closes_after(x):
            x.keep = False
            out.append(b"connection: close\r\n\r\n")
        else:
            out.append(b"\r\n")
        return out

    def on_body(self, body: bytes) -> None:
        if self._ended or self._parsed:
            # The body of an answer that has none.
            self._broken = True
            return
        if self._copy is not None:
            self._copied += len(body)
            if self._copied > MOST_BYTES:
                self._copy = None
            else:
                self._copy.append(body)
        if self._chunking:
            self._out += (b"%x\r\n" % len(body), body, b"\r\n")
        else:
            self._out.append(body)

    def on_message_complete(self) -> None:
        if not self._head_done or self._parsed:
            return
        self._parsed = True
        self._keep = self._parser.should_keep_alive()
        if not self._ended:
            self._ended = True
            x = self.exchange
            if self._copy is not None and x is not None:
                now = self.pool.loop.time()
                self.pool.cache.keep(x, self._head, b"".join(self._copy), now)
            if self._chunking:
                self._out.append(b"0\r\n\r\n")

    def _finish(self, x: Exchange) -> None:
        self.exchange = None
        x.upstream = None
        reusable = (
            self._parsed and not self._broken and x.complete and not self.stopped and self._keep
        )
        self._reset()
        if reusable:
            self.let_go()
            self.pool.release(self)
        else:
            self.transport.close()
        x.client.answered(x)
