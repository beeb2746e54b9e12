"""What a request or an event carries along: set at the door, read by logs, calls and `emit`."""

import random
import re
from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
actor: ContextVar[str | None] = ContextVar("actor", default=None)
principal: ContextVar[str | None] = ContextVar("principal", default=None)
"""For whom the actor acts, when it is not for itself."""
service: ContextVar[str] = ContextVar("service", default="")
"""Which service is at work: several may share a process."""

_WELL_FORMED = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def is_traceparent(value: str | None) -> bool:
    """Whether it is a W3C trace context of version 00."""
    return value is not None and _WELL_FORMED.fullmatch(value) is not None


def new_traceparent() -> str:
    """A W3C trace context of our own: version 00, random ids, sampled."""
    # nosemgrep: guessable-random -- the name of a trace is no secret
    return f"00-{random.getrandbits(128) or 1:032x}-{_span_id()}-01"


def child_of(parent: str | None) -> str:
    """The same trace with a new span id; a new trace where there is no (valid) parent."""
    if parent is None or not is_traceparent(parent):
        return new_traceparent()
    return f"{parent[:36]}{_span_id()}{parent[52:]}"


def _span_id() -> str:
    # nosemgrep: guessable-random -- the name of a span is no secret
    return f"{random.getrandbits(64) or 1:016x}"
