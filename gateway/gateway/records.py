"""What is written down of a request: the line for a write by staff, the line for a refusal that no
service knows of, the span. Addresses are told as they stand in the table: no value of the request.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .exchange import Exchange

if TYPE_CHECKING:
    from kit.traces import Span

    from .table import Route

access = logging.getLogger("access")
audit = logging.getLogger("audit")
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


def log_refusal(x: Exchange, code: str) -> None:
    """A line for an answer that no service knows of; the path only as it stands in the table."""
    fields = {
        "code": code,
        "status": x.status,
        "method": x.method.decode("ascii"),
        "route": x.route.path if x.route is not None else None,
        "to": x.route.service if x.route is not None else None,
        "request_id": x.request_id.decode("ascii"),
        "service": "gateway",
    }
    level = logging.WARNING if x.status >= 500 else logging.INFO
    access.log(level, "refused", extra={"fields": fields})
