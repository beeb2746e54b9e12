"""A route that will go: it says so with every answer, long before.

    @router.get("/old", **retiring(since=a_day, sunset=a_later_day, instead="/v1/new"))

`Deprecation` (RFC 9745) since when, `Sunset` (RFC 8594) until when, and a link to what to use
instead; the OpenAPI document calls it deprecated. Within `/v1/` nothing goes without it.
"""

from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Any

from fastapi.routing import APIRoute

_SINCE, _SUNSET, _INSTEAD = "x-deprecated-since", "x-sunset", "x-instead"


def retiring(*, since: date, sunset: date, instead: str) -> dict[str, Any]:
    """Options of a route: both days begin at midnight UTC; `instead` is an address of ours."""
    if sunset <= since:
        raise ValueError("a route goes after it was told that it will")
    told = {_SINCE: since.isoformat(), _SUNSET: sunset.isoformat(), _INSTEAD: instead}
    return {"deprecated": True, "openapi_extra": told}


def headers_of(route: APIRoute) -> list[tuple[str, str]]:
    """What each answer of a route says of its end; nothing for one that stays."""
    told = route.openapi_extra or {}
    if not route.deprecated or _SUNSET not in told:
        return []
    return [
        ("deprecation", f"@{int(_midnight(told[_SINCE]).timestamp())}"),
        ("sunset", format_datetime(_midnight(told[_SUNSET]), usegmt=True)),
        ("link", f'<{told[_INSTEAD]}>; rel="successor-version"'),
    ]


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
