"""What is written down of a request: the line for a write by staff, the line for a refusal that no
service knows of, the span. Addresses are told as they stand in the table: no value of the request.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from .exchange import Exchange

if TYPE_CHECKING:
    from kit.traces import Span

    from .table import Route

access = logging.getLogger("access")
audit = logging.getLogger("audit")
RUSH = frozenset({"overloaded", "too_many", "unavailable"})
"""What many are told at once."""
MOST_LINES = 25
"""Of these refusals, between two calls of `Refusals.tell`."""
READS = frozenset({b"GET", b"HEAD", b"OPTIONS"})


def note(x: Exchange) -> None:
    """Write the line if `x` was a write by staff. A status of 0 says that the client left before
    the answer: the service may have done it."""
    caller, route = x.caller, x.route
    if caller is None or route is None or caller.kind != "staff" or x.method in READS:
        return
    fields = {
        "who": caller.actor or caller.subject,
        "dept": caller.dept,
        "method": x.method.decode("ascii"),
        "route": route.path,
        "to": route.service,
        "status": x.status,
        "request_id": x.request_id.decode("ascii"),
    }
    audit.info("staff write", extra={"fields": fields})


def span_of(x: Exchange, span: Span, route: Route) -> Span:
    """The span of an answered request; the path only as it stands in the table."""
    method = x.method.decode("ascii")
    span.name = f"{method} {route.path}"
    span.attributes = {
        "http_request_method": method,
        "http_route": route.path,
        "http_response_status__code": x.status,
        "peer_service": route.service,
        "beam_request__id": x.request_id.decode("ascii"),
    }
    if x.status >= 500:
        span.error = str(x.status)
    return span


class Refusals:
    """Lines for answers that no service knows of. In a rush a line costs more than the refusal
    itself: of those that a rush brings a few are written, the others counted."""

    def __init__(self) -> None:
        self._written = 0
        self._counted: Counter[tuple[str, str | None]] = Counter()

    def note(self, x: Exchange, code: str) -> None:
        """A refusal; the path only as it stands in the table."""
        route = x.route.path if x.route is not None else None
        to = x.route.service if x.route is not None else None
        if code in RUSH:
            if self._written >= MOST_LINES:
                self._counted[code, to] += 1
                return
            self._written += 1
        fields = {
            "code": code,
            "status": x.status,
            "method": x.method.decode("ascii"),
            "route": route,
            "to": to,
            "request_id": x.request_id.decode("ascii"),
            "service": "gateway",
        }
        level = logging.WARNING if x.status >= 500 else logging.INFO
        access.log(level, "refused", extra={"fields": fields})

    def tell(self) -> None:
        """Write how many were only counted, and begin anew. Called a few times a second."""
        self._written = 0
        for (code, to), count in self._counted.items():
            fields = {"code": code, "to": to, "count": count, "service": "gateway"}
            access.warning("refused many", extra={"fields": fields})
        self._counted.clear()
