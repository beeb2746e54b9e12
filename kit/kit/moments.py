"""A moment as callers write it in an address."""

import re
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticKnownError

_WRITTEN = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d")
# What an address makes of a `+` that nobody escaped.
_LOST_PLUS = re.compile(r" (?=\d\d:\d\d$)")


def _written(value: Any) -> Any:
    """Pydantic would read any number as seconds since 1970."""
    if isinstance(value, str):
        if not _WRITTEN.match(value):
            raise PydanticKnownError("datetime_parsing", {"error": "not as RFC 3339 writes it"})
        return _LOST_PLUS.sub("+", value)
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]
"""RFC 3339 with its offset: `2026-09-01T09:30:00+08:00` (also where the `+` came as a space)."""
