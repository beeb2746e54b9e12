"""Logs, metrics and the ids that tie them together: one pure ASGI layer around every service.

Logs are JSON lines on standard output with `request_id` and `trace_id`; the path is logged as
the route's template, so no id or value of a request ever reaches a log.
"""

import json
import logging
import re
import sys
import time
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import context, traces
from .ids import uuid7
from .problems import render, wants_english

log = logging.getLogger(__name__)
access = logging.getLogger("access")
WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{8,64}")

REQUESTS = Counter(
    "beam_http_requests_total", "Requests answered", ["service", "method", "route", "status"]
)
# Not by route: twelve series for each would be most of what a service exports.
SECONDS = Histogram(
    "beam_http_request_seconds",
    "Time to answer",
    ["service"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class JsonLines(logging.Formatter):
    """One JSON object per line; exceptions as frames without values."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": context.service.get() or self._service,
            "message": record.getMessage(),
        }
        if request_id := context.request_id.get():
            line["request_id"] = request_id
        if trace := context.traceparent.get():
            line["trace_id"] = trace[3:35]
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])[-8:]
            line["at"] = [f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno} {f.name}" for f in frames]
        return json.dumps(line, ensure_ascii=False)


class BufferedLines(logging.Handler):
    """Writes many lines at once: when 64 wait, when one is a warning, or when `flush` is called
    (the service does so every half second)."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
        if len(self._lines) >= 64 or record.levelno >= logging.WARNING:
            self.flush()

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            # A full disk, or nobody who reads any more: whoever logs shall not fail for it.
            self._lost += len(lines)
            return
        lost, self._lost = self._lost, 0
        if lost:
            log.warning("%s lines of the log could not be written, or only now", lost)


def configure_logs(service: str) -> BufferedLines:
    """Send all logs of this process through one buffered JSON handler."""
    handler = BufferedLines()
    handler.setFormatter(JsonLines(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # No line tells them, and every record would look them up.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for noisy in ("httpx", "httpcore", "nats", "uvicorn.access", "uvicorn.error", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return handler


class RequestTelemetry:
    """Sets the context of a request, answers X-Request-Id, counts, logs, and turns what nobody
    caught into a 500 problem."""

    def __init__(self, app: ASGIApp, service: str) -> None:
        self._app, self._service = app, service
        self._seconds = SECONDS.labels(service)
        self._counted: dict[tuple[str, str, int], Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        sent_id = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = sent_id if WELL_FORMED.fullmatch(sent_id) else uuid7().hex
        parent = headers.get(b"traceparent", b"").decode("latin-1")
        runtime = getattr(scope["app"].state, "runtime", None)
        pairs: list[tuple[ContextVar[Any], Any]] = [
            (context.request_id, context.request_id.set(request_id)),
            (context.service, context.service.set(self._service)),
            (traces.tracer, traces.tracer.set(getattr(runtime, "tracer", None))),
        ]
        started = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            with traces.span("request", traces.SERVER, parent=parent) as span:
                try:
                    await self._app(scope, receive, answer)
                except Exception as error:
                    log.exception("unhandled error")
                    span.error = type(error).__name__
                    if status:
                        raise
                    english = wants_english(headers.get(b"accept-language", b"").decode("latin-1"))
                    await _server_error(answer, scope["path"], request_id, english)
                finally:
                    self._note(scope, status, time.perf_counter() - started, span)
        finally:
            for variable, token in pairs:
                variable.reset(token)

    def _note(self, scope: Scope, status: int, seconds: float, span: traces.Span) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        if route.startswith(("/health", "/metrics")):
            span.kept = False
            return
        method = scope["method"] if scope["method"] in METHODS else "other"
        what = method, route, status
        counter = self._counted.get(what)
        if counter is None:
            counter = self._counted[what] = REQUESTS.labels(self._service, *what)
        counter.inc()
        self._seconds.observe(seconds)
        span.name = f"{method} {route}"
        span.attributes |= {
            "http_request_method": method,
            "http_route": route,
            "http_response_status__code": status,
        }
        if status >= 500 and span.error is None:
            span.error = str(status)
        fields = {
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 1),
        }
        if access.isEnabledFor(logging.INFO):
            # As `access.info` does, without looking through the stack for who called it.
            made = access.makeRecord(
                access.name,
                logging.INFO,
                __file__,
                0,
                "request",
                (),
                None,
                extra={"fields": fields},
            )
            access.handle(made)


async def _server_error(send: Send, path: str, request_id: str, english: bool) -> None:
    body = render(
        status=500,
        code="internal",
        title="Something broke" if english else "系统出错",
        detail=(
            "This is our fault, nothing of your request was kept. Try again; if it stays, "
            "report the request_id."
            if english
            else "这是系统的问题,您的请求没有生效。请重试;仍不成功时请提供 request_id。"
        ),
        instance=path,
        request_id=request_id,
    )
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
