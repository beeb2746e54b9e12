"""The reading half of a client's connection: bytes in, judged requests out, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from . import heads
from .exchange import WAITING, Exchange

if TYPE_CHECKING:
    from .beam import Beam

BODY_STEP = 4 * 1024
"""A body that brings less than this within `gateway_body_seconds` is too slow."""
WIRE_SLACK = 64 * 1024
MAX_TRAILERS = 50
LINGER_BYTES = 32 * 1024 * 1024

IDLE, HEAD, BODY, ANSWER, WRITE, LINGER = range(6)
"""What the connection waits for; each has its own patience."""

_PLAIN_REFUSALS = frozenset({"bad_target", "target_too_long", "method_not_allowed", "too_large"})
"""Refused for what it asks, not for how it is written: the next request can be read."""


class Known:
    """The fields of a head that llhttp and we have read and that may come again on its connection:
    apps send the same ones with every request."""

    __slots__ = ("block", "like", "passed")

    def __init__(self, block: bytes, x: Exchange, passed: Sequence[bytes]) -> None:
        self.block = block
        """From the end of the request line to the end of the head."""
        self.like = Exchange(x.client)
        self.like.asks_like(x)
        self.passed = (b"".join(passed),)


class Reader(HttpToolsProtocol):
    """Turns what a client sends into exchanges in `queue`; the other half answers them.
    `app_state["beam"]` is the Beam that the connection belongs to."""

    beam: Beam
    phase = IDLE
    deadline = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.beam = self.app_state["beam"]
        self.queue: deque[Exchange] = deque()
        self.reading: Exchange | None = None
        self.in_head = False
        self.last_read = False
        """No further request is taken from this connection."""
        self.head_bytes = self.body_mark = self.wire_bytes = 0
        self.known: Known | None = None
        self.candidate: Exchange | None = None
        self.passed: Sequence[bytes] = ()
        self.address = self.client[0] if self.client else "unix"
        self.trusting = self.address in self.beam.trusted
        self.stamp = heads.forwarded(self.address)
        self.wait(IDLE, self.beam.settings.gateway_head_seconds)

    def wait(self, phase: int, seconds: float) -> None:
        self.phase = phase
        self.deadline = self.loop.time() + seconds

    def advance(self) -> None:
        raise NotImplementedError

    def withdraw(self, x: Exchange) -> None:
        raise NotImplementedError

    def refuse(self, x: Exchange, code: str, retry_after: int = 0) -> None:
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        if self.last_read:
            if self.phase == LINGER:
                self.wire_bytes += len(data)
                if self.wire_bytes > LINGER_BYTES:
                    self.transport.abort()
            return
        between = self.reading is None and not self.in_head and not self.head_bytes
        if between:
            known = self.known
            if known is not None and data.endswith(known.block) and self._again(data, known):
                return
            self.candidate = None
        if self.reading is None:
            self.head_bytes += len(data)
        else:
            self.wire_bytes += len(data)
        try:
            self.parser.feed_data(data)
            if between and self.candidate is not None:
                self._learn(data, self.candidate)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            if not self.last_read:
                self.cannot_read("bad_request")
        x = self.reading
        if x is not None:
            if x.chunked and self.wire_bytes > 2 * x.body_bytes + WIRE_SLACK:
                self.cannot_read("bad_request")
            elif x.body_bytes - self.body_mark >= BODY_STEP:
                self.body_mark = x.body_bytes
                if self.phase == BODY:
                    self.wait(BODY, self.beam.settings.gateway_body_seconds)
        elif self.head_bytes and not self.last_read:
            if self.head_bytes > heads.MAX_HEAD:
                self.cannot_read("head_too_large")
            elif self.phase == IDLE:
                self.wait(HEAD, self.beam.settings.gateway_head_seconds)
        self.advance()

    def _learn(self, data: bytes, x: Exchange) -> None:
        """Remember the fields of `x` if `data` was its head and nothing else."""
        end = data.find(b"\r\n")
        if (
            x.complete
            and not self.in_head
            and len(data) <= heads.MAX_HEAD
            and data[:end] == b"GET %b HTTP/1.1" % self.url
            and data.find(b"\r\n\r\n") == len(data) - 4
        ):
            self.known = Known(data[end:], x, self.passed)

    def _again(self, data: bytes, known: Known) -> bool:
        """Take a request whose fields are, byte for byte, the known ones: nothing in them has to be
        read anew. False, with nothing done, where its first line is not a plain one."""
        url = data[4 : -len(known.block) - 9]
        if data != b"GET %b HTTP/1.1%b" % (url, known.block) or not heads.is_usual(url):
            return False
        path = url.partition(b"?")[0]
        place = self.beam.table.find(path)
        found = place.bound.get(b"GET") if place is not None else None
        if found is None or found[1] is None:
            return False
        x = Exchange(known.like.client)
        x.asks_like(known.like)
        x.target, x.path, x.complete = url, path, True
        x.route, x.pool = found
        heads.stamp(x, known.passed)
        self.queue.append(x)
        self.advance()
        return True

    def _pass_over(self, rest: bytes) -> None:
        """CONNECT and WebSocket have been refused and end the connection; an offer of h2c is not
        taken up: what follows is HTTP/1.1 again."""
        while rest and not self.last_read:
            self.parser = httptools.HttpRequestParser(self)
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            except httptools.HttpParserError:
                self.cannot_read("bad_request")
            else:
                return
        self.parser = httptools.HttpRequestParser(self)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        if not self.queue or self.reading is not None or self.phase == LINGER:
            return None
        # The client has said all and still wants its answers.
        self.last_read = True
        self.queue[-1].keep = False
        return True

    def cannot_read(self, code: str) -> None:
        """What follows on this connection can not be told apart: answer and hang up."""
        self.last_read = True
        x, self.reading = self.reading, None
        if x is None:
            x = Exchange(self)  # type: ignore[arg-type]
            x.request_id = heads.new_request_id()
            self.queue.append(x)
        x.keep = False
        if x.stage == WAITING:
            x.refusal = code
        else:
            self.withdraw(x)
            self.refuse(x, code)

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.in_head = False
        if self.last_read:
            return
        x = self.reading = Exchange(self)  # type: ignore[arg-type]
        self.queue.append(x)
        self.body_mark = self.wire_bytes = 0
        x.method = self.parser.get_method()
        version = self.parser.get_http_version()
        x.old = version != "1.1"
        x.keep = not x.old and self.parser.should_keep_alive()
        x.refusal = self._judge(x, version)
        self.head_bytes = 0
        if x.refusal is not None:
            # A message that two readers could read in two ways ends the connection.
            x.keep = x.keep and x.refusal in _PLAIN_REFUSALS and x.method != b"CONNECT"
        elif x.pool is not None:
            stamp = self.stamp if x.address == self.address else heads.forwarded(x.address)
            passed = (stamp, *x.head)
            if x.method == b"GET" and x.keep and heads.may_come_again(x):
                self.candidate, self.passed = x, passed
            heads.stamp(x, passed)
            return
        if not x.request_id:
            x.request_id = heads.new_request_id()

    def _judge(self, x: Exchange, version: str) -> str | None:
        """The code of the refusal that this request has earned by its head, or None."""
        headers, self.headers = self.headers, []
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
        place = self.beam.table.find(x.path)
        if place is None:
            x.headers = headers
        else:
            found = place.bound.get(x.method)
            if found is None:
                x.allow = place.allow
                if x.preflight and x.method == b"OPTIONS" and self.beam.stamps.on:
                    return None
                return "method_not_allowed"
            x.route, x.pool = found
            if x.pool is None:
                x.headers = headers
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
            self.cannot_read("too_large")
        else:
            x.add(body)

    def on_message_complete(self) -> None:
        x, self.reading = self.reading, None
        if x is None:
            return
        x.complete = True
        if len(self.headers) > MAX_TRAILERS:
            # Trailers are read and dropped; so many are an attack.
            self.reading = x
            self.cannot_read("head_too_large")
        if not x.keep:
            self.last_read = True
