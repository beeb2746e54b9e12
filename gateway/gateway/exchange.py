"""One request and its answer on their way through the beam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kit.auth import Caller
    from kit.traces import Span

    from .pools import Pool
    from .protocol import BeamProtocol
    from .table import Route
    from .upstreams import UpstreamConnection

WAITING, ASKING, FLOWING = 0, 1, 2
"""Not begun · its token is verified or a connection is sought · given to a service or an app."""

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})


class Exchange:
    """State of one request. Defaults live on the class: most requests change only a few."""

    stage = WAITING
    method = b"GET"
    target = b""
    """Path and query as the service shall see them."""
    path = b""
    authority: bytes | None = None
    """Of a target in absolute form; must be the Host."""
    route: Route | None = None
    pool: Pool | None = None
    upstream: UpstreamConnection | None = None
    head: list[bytes]
    """The new head, without framing headers and without the empty line."""
    headers: list[tuple[bytes, bytes]]
    """As they came; only for the apps of the house."""
    request_id = b""
    trace: bytes | None = None
    """A `traceparent` of the client's that may go on."""
    accept_language = b""
    cookies = b""
    token: bytes | None = None
    length: int | None = None
    """Declared length of the body."""
    chunked = False
    expects = False
    old = False
    """HTTP/1.0: no chunks in the answer, and it ends with the connection."""
    keep = True
    """The connection may be used again after the answer."""
    complete = False
    """The whole request has been read."""
    refusal: str | None = None
    over = False
    """Answered, or given up; nothing more may be written for it."""
    sent_head = False
    sent_all = False
    started = False
    """Part of the answer has been written."""
    address = ""
    """Of the client."""
    raw: bytes | None = None
    """All that was sent to the service, as long as it may be sent again."""
    retried = False
    status = 0
    """Status of the answer."""
    body: Sequence[bytes] = ()
    """What has been read of the body and not been passed on."""
    body_bytes = 0
    allow = b""
    """Methods that the address takes, when this one is not among them."""
    quota = b""
    """RateLimit headers of the answer."""
    stamp = b""
    """Security and CORS headers of the answer."""
    began = 0.0
    span: Span | None = None
    """While traces are kept."""
    queued = 0.0
    """Since when it has been waiting for a connection."""
    caller: Caller | None = None
    """Whom its token names."""
    origin: bytes | None = None
    """The web page that asks, when a browser says so."""
    preflight = False
    """A browser asks whether that page may ask."""

    if_none_match: bytes | None = None
    picky = False
    """Asks for something that a kept answer can not give."""
    cache_key: bytes | None = None
    """Under which its answer may be kept, if it came in `cache_generation`."""
    cache_generation = 0

    def __init__(self, client: BeamProtocol) -> None:
        self.client = client

    def asks_like(self, other: Exchange) -> None:
        """Take over what the fields of its head said."""
        self.address = other.address
        self.accept_language = other.accept_language
        self.cookies = other.cookies
        self.token = other.token
        self.origin = other.origin
        self.preflight = other.preflight
        self.if_none_match = other.if_none_match
        self.picky = other.picky

    def add(self, piece: bytes) -> None:
        """A piece of the body has been read."""
        if isinstance(self.body, list):
            self.body.append(piece)
        else:
            self.body = [piece]

    def framed(self) -> bytes:
        """What of the request can be sent now: at first the head, then the body as it comes."""
        body = self.body
        if self.complete:
            self.sent_all = True
        if self.sent_head:
            pieces: list[bytes] = []
        else:
            self.sent_head = True
            pieces = self.head
            if self.complete:
                if body or self.length is not None or self.chunked:
                    pieces.append(b"content-length: %d\r\n" % self.body_bytes)
                    pieces.append(b"\r\n")
                    pieces += body
                else:
                    pieces.append(b"\r\n")
                self.body = ()
                return b"".join(pieces)
            if self.chunked:
                pieces.append(b"transfer-encoding: chunked\r\n\r\n")
            else:
                pieces.append(b"content-length: %d\r\n\r\n" % (self.length or 0))
        if self.chunked:
            if body:
                data = b"".join(body)
                pieces += (b"%x\r\n" % len(data), data, b"\r\n")
            if self.complete:
                pieces.append(b"0\r\n\r\n")
        else:
            pieces += body
        self.body = ()
        return b"".join(pieces)


class OwnPages:
    """The client's connection for an app of the house: what an answer ends, the beam ends, which
    first lets a client that is still sending come to its end."""

    def __init__(self, x: Exchange) -> None:
        self._x = x
        self.write = x.client.transport.write
        self.is_closing = x.client.transport.is_closing

    def close(self) -> None:
        cycle = self._x.client.cycle
        if cycle is not None and cycle.response_complete:
            self._x.keep = False
        else:
            self._x.client.transport.close()
