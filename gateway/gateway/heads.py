"""Reads a request head that llhttp let through, refuses what is ambiguous, writes a new head.

Nothing is passed on as it came: the new head is put together from the fields that may pass,
so that the service can not read another message out of it than we did.
"""

import os
import re
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes

from kit.traces import SERVER, Span

from .exchange import Exchange

MAX_HEAD = 32 * 1024
MAX_FIELDS = 100
MAX_TARGET = 8 * 1024
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})

_USUAL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_-.~=&?,:@+"
"""A target of these alone, without an empty or dotted segment, needs no second look."""
_PATH = re.compile(rb"(?:[A-Za-z0-9/_\-.~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*")
_QUERY = re.compile(rb"[\x21\x22\x24-\x7e]*")
_ESCAPED_AGAIN = re.compile(rb"%(?:2[ef]|5c|00|25)", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_HOST = re.compile(
    rb"[A-Za-z0-9.\-]{1,255}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?"
)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

(
    _DROP,
    _HOST_FIELD,
    _AUTHORIZATION,
    _LENGTH,
    _CODING,
    _CONNECTION,
    _EXPECT,
    _ID,
    _TRACE,
    _TRACESTATE,
    _UPGRADE,
    _LANGUAGE,
    _ORIGIN,
    _PREFLIGHT,
    _NONE_MATCH,
    _PICKY,
    _COOKIE,
    _PASS,
) = range(18)

_FIELDS = {
    # hop by hop
    **dict.fromkeys(
        (b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te",
         b"trailer", b"http2-settings"),
        _DROP,
    ),
    # set by us alone, or able to turn a request into another one
    **dict.fromkeys(
        (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
         b"x-forwarded-port", b"x-forwarded-prefix", b"x-forwarded-server", b"x-real-ip",
         b"x-client-ip", b"true-client-ip", b"x-original-url", b"x-rewrite-url",
         b"x-http-method-override", b"x-http-method", b"x-method-override", b"via",
         b"x-correlation-id"),
        _DROP,
    ),
    b"host": _HOST_FIELD,
    b"authorization": _AUTHORIZATION,
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"expect": _EXPECT,
    b"x-request-id": _ID,
    b"traceparent": _TRACE,
    b"tracestate": _TRACESTATE,
    b"upgrade": _UPGRADE,
    b"accept-language": _LANGUAGE,
    b"origin": _ORIGIN,
    b"if-none-match": _NONE_MATCH,
    b"cookie": _COOKIE,
    **dict.fromkeys((b"range", b"cache-control", b"pragma", b"if-modified-since"), _PICKY),
    b"access-control-request-method": _PREFLIGHT,
}  # fmt: skip


_known: dict[bytes, int] = dict(_FIELDS)
"""What to do with a field, by name; learns the names that are in use."""
_MOST_NAMES = 2000


def _learn(name: bytes) -> int:
    """An underscore is the same as a dash to some readers, and `x-beam-` is ours: neither may
    pass."""
    kind = _DROP if b"_" in name or name.startswith(b"x-beam-") else _PASS
    if len(_known) < _MOST_NAMES and len(name) < 64:
        _known[name] = kind
    return kind


_good_hosts: set[bytes] = set()


def _is_host(host: bytes) -> bool:
    """Whether it may stand in `Host`; remembers the first few that did."""
    good = _HOST.fullmatch(host) is not None
    if good and len(_good_hosts) < 100:
        _good_hosts.add(host)
    return good


def check_target(target: bytes) -> bool:
    """Whether path and query mean the same to everyone who reads them: valid escapes and UTF-8,
    no fragment, no dot segment, no empty segment, no escaped slash, backslash or control."""
    path, _, query = target.partition(b"?")
    if not _QUERY.fullmatch(query) or not _PATH.fullmatch(path) or b"//" in path:
        return False
    lower = path.lower()
    if b"%2f" in lower or b"%5c" in lower:
        return False
    plain = unquote_to_bytes(path)
    if _CONTROL.search(plain) or _ESCAPED_AGAIN.search(plain):
        return False
    try:
        plain.decode()
    except UnicodeDecodeError:
        return False
    return all(part.partition(b";")[0] not in (b".", b"..") for part in plain.split(b"/"))


def _origin_form(url: bytes) -> tuple[bytes, bytes | None] | None:
    """Target in origin form and the authority of an absolute form; None for any other form."""
    for scheme in (b"http://", b"https://"):
        if url[: len(scheme)].lower() == scheme:
            rest = url[len(scheme) :]
            end = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
            tail = rest[end:]
            return (tail if tail[:1] == b"/" else b"/" + tail), rest[:end].lower()
    return None


def read_target(x: Exchange, url: bytes) -> str | None:
    """Fills path and target; the code of a refusal, or None."""
    if len(url) > MAX_TARGET:
        return "target_too_long"
    if url[:1] != b"/":
        form = _origin_form(url)
        if form is None:
            return "bad_target"
        url, x.authority = form
    if not is_usual(url) and not check_target(url):
        return "bad_target"
    x.target = url
    x.path = url.partition(b"?")[0]
    return None


def read_fields(x: Exchange, headers: list[tuple[bytes, bytes]]) -> str | None:
    """Copies the fields that may pass into `x.head` and notes the others; the code of a
    refusal, or None. Names are in lower case; llhttp has refused controls, folding, double and
    odd Content-Length, and Content-Length beside Transfer-Encoding."""
    head: list[bytes] = []
    host: bytes | None = None
    trace: bytes | None = None
    state: bytes | None = None
    connection = b""
    upgrade: bytes | None = None
    for name, value in headers:
        kind = _known.get(name)
        if kind is None:
            kind = _learn(name)
        if kind == _PASS:
            head += (name, b": ", value, b"\r\n")
        elif kind == _LANGUAGE:
            x.accept_language = value
            head += (name, b": ", value, b"\r\n")
        elif kind == _HOST_FIELD:
            if host is not None:
                return "bad_host"
            host = value.strip().lower()
        elif kind == _AUTHORIZATION:
            if x.token is not None:
                return "bad_token"
            x.token = value.strip()
            head += (b"authorization: ", x.token, b"\r\n")
        elif kind == _CONNECTION:
            connection += b"," + value if connection else value
        elif kind == _ID:
            if _REQUEST_ID.fullmatch(value):
                x.request_id = value
        elif kind == _TRACE:
            trace = value if trace is None and _TRACEPARENT.fullmatch(value) else b""
        elif kind == _TRACESTATE:
            state = value if state is None else state + b"," + value
        elif kind == _LENGTH:
            x.length = int(value)
        elif kind == _CODING:
            if x.chunked or value.strip().lower() != b"chunked" or x.old:
                return "bad_request"
            x.chunked = True
        elif kind == _EXPECT:
            if value.strip().lower() != b"100-continue":
                return "expectation_failed"
            x.expects = not x.old
        elif kind == _ORIGIN:
            x.origin = value.strip()
            head += (name, b": ", value, b"\r\n")
        elif kind == _PREFLIGHT:
            x.preflight = True
            head += (name, b": ", value, b"\r\n")
        elif kind == _NONE_MATCH:
            more = x.if_none_match
            x.if_none_match = value if more is None else more + b"," + value
            head += (name, b": ", value, b"\r\n")
        elif kind == _PICKY:
            x.picky = True
            head += (name, b": ", value, b"\r\n")
        elif kind == _COOKIE:
            x.cookies = value
            head += (name, b": ", value, b"\r\n")
        elif kind == _UPGRADE:
            upgrade = value.strip().lower()
    if host is None:
        if not x.old:
            return "bad_host"
    elif (host not in _good_hosts and not _is_host(host)) or x.authority not in (None, host):
        return "bad_host"
    if connection and connection.lower() not in (b"keep-alive", b"close"):
        options = {option.strip() for option in connection.lower().split(b",")}
        if b"upgrade" in options and upgrade != b"h2c":
            return "upgrade_refused"
        head = _without(head, options)
    if host is not None:
        head += (b"x-forwarded-host: ", host, b"\r\n")
    x.head = head
    x.trace = trace
    if trace and state is not None:
        head += (b"tracestate: ", state, b"\r\n")
    return None


def may_come_again(x: Exchange) -> bool:
    """Whether nothing in its fields is of this one request: no body, no id of the client's."""
    return not (
        x.request_id or x.trace is not None or x.length is not None or x.chunked or x.expects
        or x.authority is not None
    )  # fmt: skip


def stamp(x: Exchange, passed: Sequence[bytes]) -> None:
    """Puts the new head together: the request line, the fields that pass, the ids."""
    if not x.request_id:
        x.request_id = new_request_id()
    if x.client.beam.tracer is not None:
        x.span = Span("request", SERVER, x.trace.decode() if x.trace else None)
        trace = b"traceparent: %b\r\n" % x.span.traceparent.encode()
    elif x.trace:
        trace = b"traceparent: %b\r\n" % x.trace
    else:
        trace = new_traceparent_line()
    assert x.pool is not None
    x.head = [
        x.method, b" ", x.target, x.pool.start_line_end, *passed, trace,
        b"x-request-id: ", x.request_id, b"\r\n",
    ]  # fmt: skip


def is_usual(target: bytes) -> bool:
    """Whether it is in origin form and means the same to everyone at first sight."""
    return (
        target[:1] == b"/"
        and len(target) <= MAX_TARGET
        and not (target.translate(None, _USUAL) or b"//" in target or b"/." in target)
    )


def _without(head: list[bytes], names: set[bytes]) -> list[bytes]:
    """The head without the fields that `Connection` names as meant for this hop only. The token
    stays: a client must not be able to take it off on the way."""
    names = names - {b"authorization"}
    return [
        piece for i in range(0, len(head), 4) if head[i] not in names for piece in head[i : i + 4]
    ]


def last_forwarded(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The address that a trusted proxy saw: the last one in `X-Forwarded-For`."""
    entries = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    try:
        return str(ip_address(entries.rpartition(b",")[2].strip().decode("ascii")))
    except ValueError:
        return None


class _Digits:
    """Random hexadecimal digits, drawn from the system many at a time."""

    def __init__(self) -> None:
        self._drawn, self._at = b"", 0
        # Two processes must not go on with the same digits.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._drawn, self._at = b"", 0

    def take(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if self._at > len(self._drawn):
            self._drawn = os.urandom(4096).hex().encode()
            start, self._at = 0, count
        return self._drawn[start : self._at]


_digits = _Digits()


def new_request_id() -> bytes:
    return _digits.take(32)


def new_traceparent_line() -> bytes:
    digits = _digits.take(46)
    return b"traceparent: 00-%b1-%b1-01\r\n" % (digits[:31], digits[31:])


def forwarded(address: str) -> bytes:
    """What we tell a service about the client; nothing the client says about itself counts."""
    node = f'"[{address}]"' if ":" in address else address
    return (
        f"x-forwarded-for: {address}\r\nx-forwarded-proto: http\r\n"
        f"forwarded: for={node};proto=http\r\n"
    ).encode()
