"""The client's side of the beam: uvicorn's HTTP protocol with a proxy lane inside.

A request of the route table never becomes an ASGI call or a task: it is judged, given a new head
and handed to a pooled connection of its service, whose answer is written straight back. All else
goes to the ASGI app as usual. Requests on one connection are answered in order.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from kit.errors import Problem

from . import heads
from .exchange import ASKING, FLOWING, WAITING, Exchange
from .refusals import answer

if TYPE_CHECKING:
    from .beam import Beam

HIGH_WATER = 64 * 1024
BODY_STEP = 4 * 1024
"""A body that brings less than this within `gateway_body_seconds` is too slow."""
WIRE_SLACK = 64 * 1024
MAX_TRAILERS = 8 * 1024
LINGER_SECONDS = 2.0
LINGER_BYTES = 32 * 1024 * 1024

IDLE, HEAD, BODY, ANSWER, WRITE, LINGER = range(6)
"""What the connection waits for; each has its own patience."""

_PLAIN_REFUSALS = frozenset({"bad_target", "target_too_long", "method_not_allowed", "too_large"})
"""Refused for what it asks, not for how it is written: the next request can be read."""


class BeamProtocol(HttpToolsProtocol):
    """One connection of a client. `app_state["beam"]` is the Beam that it belongs to."""

    beam: Beam
    draining = False
    phase = IDLE
    deadline = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.beam = self.app_state["beam"]
        self.beam.clients.add(self)
        self.queue: deque[Exchange] = deque()
        self.reading: Exchange | None = None
        self.in_head = False
        self.last_read = False
        """No further request is taken from this connection."""
        self.head_bytes = self.body_mark = self.wire_bytes = self.trailer_bytes = 0
        self.advancing = False
        self.address = self.client[0] if self.client else "unix"
        self.trusting = self.address in self.beam.trusted
        self.stamp = forwarded(self.address)
        self.wait(IDLE, self.beam.settings.gateway_head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.beam.clients.discard(self)
        for x in self.queue:
            x.over = True
            self._withdraw(x)
        self.queue.clear()

    def wait(self, phase: int, seconds: float) -> None:
        self.phase = phase
        self.deadline = self.loop.time() + seconds

    # Reading

    def data_received(self, data: bytes) -> None:
        if self.last_read:
            if self.phase == LINGER:
                self.wire_bytes += len(data)
                if self.wire_bytes > LINGER_BYTES:
                    self.transport.abort()
            return
        if self.reading is None:
            self.head_bytes += len(data)
            if self.phase == IDLE:
                self.wait(HEAD, self.beam.settings.gateway_head_seconds)
        else:
            self.wire_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # CONNECT and WebSocket have been refused; an offer of h2c is not taken up.
            if not self.last_read:
                self.parser = httptools.HttpRequestParser(self)
                rest = data[upgrade.args[0] :]
                if rest:
                    self.data_received(rest)
                    return
        except httptools.HttpParserError:
            if not self.last_read:
                self._cannot_read("bad_request")
        x = self.reading
        if x is not None:
            if x.chunked and self.wire_bytes > 2 * x.body_bytes + WIRE_SLACK:
                self._cannot_read("bad_request")
            elif x.body_bytes - self.body_mark >= BODY_STEP:
                self.body_mark = x.body_bytes
                if self.phase == BODY:
                    self.wait(BODY, self.beam.settings.gateway_body_seconds)
        elif self.in_head and self.head_bytes > heads.MAX_HEAD and not self.last_read:
            self._cannot_read("head_too_large")
        self.advance()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        if not self.queue or self.reading is not None or self.phase == LINGER:
            return None
        # The client has said all and still wants its answers.
        self.last_read = True
        self.queue[-1].keep = False
        return True

    def _cannot_read(self, code: str) -> None:
        """What follows on this connection can not be told apart: answer and hang up."""
        self.last_read = True
        x, self.reading = self.reading, None
        if x is None:
            x = Exchange(self)
            x.request_id = heads.new_request_id()
            self.queue.append(x)
        x.keep = False
        if x.stage == WAITING:
            x.refusal = code
        else:
            self._withdraw(x)
            self.refuse(x, code)

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.in_head = True
        self.trailer_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:
            self.headers.append((name.lower(), value))
        else:
            # Trailers are read and dropped.
            self.trailer_bytes += len(name) + len(value)

    def on_headers_complete(self) -> None:
        self.in_head = False
        if self.last_read:
            return
        x = self.reading = Exchange(self)
        self.queue.append(x)
        self.body_mark = self.wire_bytes = 0
        x.method = self.parser.get_method()
        version = self.parser.get_http_version()
        x.old = version != "1.1"
        x.keep = not x.old and self.parser.should_keep_alive()
        x.refusal = self._judge(x, version)
        self.head_bytes = 0
        if not x.request_id:
            x.request_id = heads.new_request_id()
        if x.refusal is not None:
            # A message that two readers could read in two ways ends the connection.
            x.keep = x.keep and x.refusal in _PLAIN_REFUSALS
        elif x.pool is not None:
            stamp = self.stamp if x.address == self.address else forwarded(x.address)
            x.head[:0] = (x.method, b" ", x.target, x.pool.start_line_end, stamp)
            x.head += (b"x-request-id: ", x.request_id, b"\r\n")

    def _judge(self, x: Exchange, version: str) -> str | None:
        """The code of the refusal that this request has earned by its head, or None."""
        headers = self.headers
        x.address = self.address
        if len(headers) > heads.MAX_FIELDS:
            return "head_too_large"
        if self.head_bytes > heads.MAX_HEAD and len(self.url) <= heads.MAX_TARGET:
            size = sum(len(name) + len(value) + 4 for name, value in headers)
            if size > heads.MAX_HEAD:
                return "head_too_large"
        if version not in ("1.1", "1.0"):
            return "version_not_supported"
        if x.method not in heads.METHODS:
            return "method_not_allowed"
        refusal = heads.read_target(x, self.url) or heads.read_fields(x, headers)
        if refusal is not None:
            return refusal
        if self.trusting:
            x.address = heads.last_forwarded(headers) or self.address
        found = self.beam.table.find(x.path)
        if found is None:
            x.headers = headers
        else:
            x.route, x.pool = found
            if x.length is not None and x.length > x.route.body_limit:
                return "too_large"
        return None

    def on_body(self, body: bytes) -> None:
        x = self.reading
        if x is None or x.over:
            return
        x.body_bytes += len(body)
        if x.route is None or x.refusal is not None:
            return
        if x.body_bytes > x.route.body_limit:
            self._cannot_read("too_large")
        else:
            x.body.append(body)

    def on_message_complete(self) -> None:
        x, self.reading = self.reading, None
        if x is None:
            return
        x.complete = True
        if self.trailer_bytes > MAX_TRAILERS:
            self.reading = x
            self._cannot_read("head_too_large")
        if not x.keep:
            self.last_read = True

    # Answering, in order

    def advance(self) -> None:
        """Begin what can be begun and pass on what has been read."""
        if self.advancing:
            return
        self.advancing = True
        queue = self.queue
        while queue and not self.flow.write_paused:
            x = queue[0]
            if x.stage == WAITING:
                self._begin(x)
            else:
                if x.upstream is not None and not x.sent_all:
                    x.upstream.push(x)
                if x.complete and self.phase == BODY:
                    self.wait(ANSWER, self.beam.patience(x))
            if queue and queue[0] is x:
                break
        self.advancing = False
        self.regulate()

    def regulate(self) -> None:
        """Read on, or let the client wait: while earlier requests are unanswered, while the
        service takes no more, and while much has come in and no connection is there yet."""
        if self.transport.is_closing():
            return
        queue = self.queue
        if not queue:
            self.flow.resume_reading()
            return
        x = queue[0]
        if x.upstream is not None:
            full = x.upstream.stopped
        else:
            full = x.body_bytes > HIGH_WATER and x.route is not None
        if full or len(queue) > 1:
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()

    def _begin(self, x: Exchange) -> None:
        beam = self.beam
        x.began = time.perf_counter()
        if x.refusal is not None:
            self.refuse(x, x.refusal)
            return
        x.stage = ASKING
        if x.complete:
            self.wait(ANSWER, beam.patience(x))
        else:
            self.wait(BODY, beam.settings.gateway_body_seconds)
        if x.token is None:
            self._admit(x, x.address)
            return
        scheme, _, token = x.token.partition(b" ")
        if scheme.lower() != b"bearer":
            if x.route is not None and not x.route.public:
                self.refuse(x, "bad_token")
            else:
                self._admit(x, x.address)
            return
        text = token.strip().decode("latin-1")
        caller = beam.keyring.verify_cached(text)
        if caller is not None:
            self._admit(x, caller.subject)
        else:
            beam.run(self._verify(x, text))

    async def _verify(self, x: Exchange, token: str) -> None:
        try:
            caller = await self.beam.keyring.verify(token)
        except Problem as problem:
            if problem.status == 401:
                wait, x.quota = self.beam.limiter.charge(x.address)
                self.refuse(x, "too_many" if wait else "bad_token", wait)
            else:
                self.refuse(x, "identity_unavailable")
        else:
            self._admit(x, caller.subject)
        self.advance()

    def _admit(self, x: Exchange, key: str) -> None:
        """Let a request through unless its sender asks too much, and hand it on."""
        if x.over:
            return
        wait, x.quota = self.beam.limiter.charge(key)
        if wait:
            self.refuse(x, "too_many", wait)
            return
        if x.expects and not x.complete:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if x.pool is not None:
            x.pool.send(x)
        else:
            self._ask_app(x)

    def _ask_app(self, x: Exchange) -> None:
        """One of the house's own pages: an ordinary ASGI call; a body is not looked at."""
        x.stage = FLOWING
        cycle = self.cycle = RequestResponseCycle(
            scope=self.beam.scope(x, self),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[(b"x-request-id", x.request_id)],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=not self.closes_after(x),
            on_response=lambda: self.answered(x),
        )
        x.keep = cycle.keep_alive
        cycle.more_body = False
        self._start_asgi_task(cycle, self.app)

    def closes_after(self, x: Exchange) -> bool:
        """Whether the answer to this request is the last on its connection."""
        last = self.draining and len(self.queue) == 1 and not self.in_head
        return last or not x.keep or not x.complete

    def write_answer(self, x: Exchange, data: bytes, ended: bool) -> None:
        x.started = True
        self.transport.write(data)
        if not ended and self.phase == ANSWER:
            self.wait(ANSWER, self.beam.patience(x))

    def refuse(self, x: Exchange, code: str, retry_after: int = 0) -> None:
        """Answer with a problem of our own; hang up where an answer has begun already."""
        if x.over:
            return
        if x.started:
            self.transport.abort()
            return
        x.keep = not self.closes_after(x)
        x.status, data = answer(
            code,
            accept_language=x.accept_language,
            instance=x.path.decode("latin-1"),
            request_id=x.request_id,
            service=x.route.service if x.route is not None else None,
            keep=x.keep,
            body_wanted=x.method != b"HEAD",
            headers=x.quota + (b"retry-after: %d\r\n" % retry_after if retry_after else b""),
        )
        self.transport.write(data)
        self.answered(x)

    def upstream_failed(self, x: Exchange) -> None:
        """The service broke off before its answer was whole."""
        x.upstream = None
        self.refuse(x, "bad_gateway")

    def answered(self, x: Exchange) -> None:
        """The answer has been written whole; go on with the next request."""
        if x.over:
            return
        x.over = True
        self.queue.popleft()
        self.server_state.total_requests += 1
        self.beam.counters.seen(x, time.perf_counter() - x.began)
        if not x.keep or not x.complete:
            self._hang_up(x)
        elif self.queue:
            self.advance()
        elif self.in_head:
            self.wait(HEAD, self.beam.settings.gateway_head_seconds)
        elif self.flow.write_paused:
            self.wait(WRITE, self.beam.settings.gateway_write_seconds)
        else:
            self._rest()

    def _rest(self) -> None:
        settings = self.beam.settings
        self.wait(
            IDLE,
            settings.gateway_linger_seconds if self.draining else settings.gateway_idle_seconds,
        )
        if self.flow.read_paused:
            self.flow.resume_reading()

    def _hang_up(self, x: Exchange) -> None:
        """Close after an answer. Where the client may still be sending, stop writing but read
        on for a moment: a reset would take the answer from it."""
        self.last_read = True
        if self.transport.is_closing():
            return
        if x.complete and x.refusal is None:
            self.transport.close()
            return
        self.wire_bytes = 0
        self.wait(LINGER, LINGER_SECONDS)
        self.flow.resume_reading()
        self.transport.write_eof()

    def _withdraw(self, x: Exchange) -> None:
        if x.upstream is not None:
            x.upstream.abandon()
            x.upstream = None

    # Flow, time and the end

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.phase == ANSWER:
            self.wait(WRITE, self.beam.settings.gateway_write_seconds)
        if self.queue and self.queue[0].upstream is not None:
            self.queue[0].upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.queue:
            x = self.queue[0]
            if self.phase == WRITE:
                self.wait(ANSWER, self.beam.patience(x))
            if x.upstream is not None:
                x.upstream.transport.resume_reading()
            self.advance()
        elif self.phase == WRITE:
            self._rest()

    def expire(self) -> None:
        """Patience is at its end."""
        phase = self.phase
        if phase in (HEAD, BODY) and not self.flow.read_paused:
            self._cannot_read("request_timeout")
            self.advance()
        elif phase in (BODY, ANSWER) and self.queue:
            x = self.queue[0]
            asked = x.upstream is not None
            self._withdraw(x)
            self.refuse(x, "timeout" if asked else "unavailable")
            self.advance()
        elif phase == WRITE:
            self.transport.abort()
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """The server stops: answer what is here, take one more request from a kept connection
        if it comes at once, say `Connection: close`."""
        self.draining = True
        if self.queue:
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.keep_alive = False
        elif self.phase == IDLE:
            soon = self.loop.time() + self.beam.settings.gateway_linger_seconds
            self.deadline = min(self.deadline, soon)


def forwarded(address: str) -> bytes:
    """What we tell a service about the client; nothing the client says about itself counts."""
    node = f'"[{address}]"' if ":" in address else address
    return (
        f"x-forwarded-for: {address}\r\nx-forwarded-proto: http\r\n"
        f"forwarded: for={node};proto=http\r\n"
    ).encode()
