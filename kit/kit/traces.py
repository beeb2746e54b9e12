"""Spans: how long a request, an event, a call outside took, and what caused what. Off by default.

`BEAM_TRACES` says where they go, in OpenTelemetry's own JSON (OTLP): `file:///var/log/traces.jsonl`
gets one export request per line, as the Collector's `otlpjsonfile` receiver reads it;
`http://collector:4318/v1/traces` gets them posted. We write these few fields ourselves: the SDK
would add protobuf, requests and a thread to every process for the same bytes.
"""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from prometheus_client import Counter

from . import context

log = logging.getLogger(__name__)

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
"""Kinds of spans, numbered as in OTLP."""
MOST_WAITING = 5_000
_ERROR = 2
_BATCH = 1_000

SPANS = Counter(
    "beam_trace_spans_total", "Spans by what became of them: exported, dropped", ["service", "fate"]
)


class Span:
    """One piece of work. `name` and `attributes` may change until it ends; no values of people."""

    __slots__ = ("attributes", "began", "error", "kept", "kind", "name", "parent", "traceparent")

    def __init__(self, name: str, kind: int, parent: str | None, **attributes: Any) -> None:
        self.name, self.kind, self.attributes = name, kind, attributes
        self.parent = parent if context.is_traceparent(parent) else None
        self.traceparent = context.child_of(parent)
        self.began = time.time_ns()
        self.error: str | None = None
        self.kept = True
        """Whether it shall be exported; its children are, anyway."""


tracer: ContextVar["Tracer | None"] = ContextVar("tracer", default=None)
_open: ContextVar[Span | None] = ContextVar("open_span", default=None)


class Tracer:
    """Gathers the spans of one service and brings them to `target`: `file:` or `http(s):` URL.

    `ratio` (0 to 1) of the traces are kept, the same ones by every service. Spans that cannot be
    brought away are dropped and counted; nothing waits for them.
    """

    def __init__(self, service: str, target: str, ratio: float = 1.0) -> None:
        self._service, self._target = service, target
        self._below = round(ratio * 2**56)
        self._waiting: list[dict[str, Any]] = []
        self._client: httpx.AsyncClient | None = None
        self._told = False

    def wants(self, traceparent: str) -> bool:
        """Whether spans of this trace are kept."""
        return bool(int(traceparent[53:], 16) & 1) and int(traceparent[21:35], 16) < self._below

    def keep(self, span: Span) -> None:
        """The span has ended now."""
        if not self.wants(span.traceparent):
            return
        if len(self._waiting) >= MOST_WAITING:
            SPANS.labels(self._service, "dropped").inc()
            return
        line: dict[str, Any] = {
            "traceId": span.traceparent[3:35],
            "spanId": span.traceparent[36:52],
            "name": span.name,
            "kind": span.kind,
            "startTimeUnixNano": str(span.began),
            "endTimeUnixNano": str(max(time.time_ns(), span.began)),
            "attributes": [_attribute(k, v) for k, v in span.attributes.items()],
        }
        if span.parent is not None:
            line["parentSpanId"] = span.parent[36:52]
        if span.error is not None:
            line["status"] = {"code": _ERROR, "message": span.error}
        self._waiting.append(line)

    async def flush(self) -> None:
        """Bring away what waits. Never raises for what the target does."""
        while self._waiting:
            spans, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            try:
                await self._export(_request(self._service, spans))
            except (OSError, httpx.HTTPError) as error:
                SPANS.labels(self._service, "dropped").inc(len(spans))
                if not self._told:
                    log.warning("traces cannot be exported: %s", type(error).__name__)
                self._told = True
            else:
                SPANS.labels(self._service, "exported").inc(len(spans))
                self._told = False

    async def run(self) -> None:
        """Bring them away every half second, until cancelled."""
        while True:
            await asyncio.sleep(0.5)
            await self.flush()

    async def _export(self, body: bytes) -> None:
        parts = urlsplit(self._target)
        if parts.scheme == "file":
            # One write of whole lines at the end of the file: programs can share it.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            file = os.open(Path(unquote(parts.path)), flags, 0o640)
            try:
                os.write(file, body + b"\n")
            finally:
                os.close(file)
            return
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=3, trust_env=False)
        answer = await self._client.post(
            self._target, content=body, headers={"content-type": "application/json"}
        )
        answer.raise_for_status()

    async def close(self) -> None:
        await self.flush()
        if self._client is not None:
            await self._client.aclose()


def open_tracer(service: str, target: str, ratio: float) -> Tracer | None:
    """A tracer for this target, None for an empty one. Ends the start on any other."""
    if not target:
        return None
    if urlsplit(target).scheme not in ("file", "http", "https"):
        raise SystemExit(
            "BEAM_TRACES 须为 file:///… 或 http(s)://…/v1/traces。"
            " / BEAM_TRACES must be file:///… or http(s)://…/v1/traces."
        )
    return Tracer(service, target, ratio)


_INHERIT = "inherit"


@contextlib.contextmanager
def span(
    name: str, kind: int = INTERNAL, *, parent: str | None = _INHERIT, **attributes: Any
) -> Iterator[Span]:
    """Work that is a span: within, `context.traceparent` is its own, for whatever it causes.

    `parent` is the trace context that caused it, by default the present one. Attribute names take
    `_` for `.` and `__` for `_`: `http_route` → `http.route`.
    """
    cause = context.traceparent.get() if parent is _INHERIT else parent
    current = Span(name, kind, cause, **attributes)
    tokens = (context.traceparent.set(current.traceparent), _open.set(current))
    try:
        yield current
    except Exception as error:
        current.error = type(error).__name__
        raise
    finally:
        context.traceparent.reset(tokens[0])
        _open.reset(tokens[1])
        mine = tracer.get()
        if mine is not None and current.kept:
            mine.keep(current)
            above = _open.get()
            if above is not None and above.traceparent[:35] == current.traceparent[:35]:
                above.kept = True


def touch() -> None:
    """The open span has caused something that outlives it: keep it."""
    current = _open.get()
    if current is not None:
        current.kept = True


def _attribute(name: str, value: Any) -> dict[str, Any]:
    match value:
        case bool():
            typed: dict[str, Any] = {"boolValue": value}
        case int():
            typed = {"intValue": str(value)}
        case float():
            typed = {"doubleValue": value}
        case _:
            typed = {"stringValue": str(value)}
    key = name.replace("__", "\0").replace("_", ".").replace("\0", "_")
    return {"key": key, "value": typed}


def _request(service: str, spans: list[dict[str, Any]]) -> bytes:
    resource = {
        "attributes": [_attribute("service_name", service), _attribute("service_namespace", "beam")]
    }
    scope = {"scope": {"name": "beam"}, "spans": spans}
    document = {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
