"""Answers about the closing of an account."""

from datetime import datetime
from typing import Literal

from kit.holdings import Matter
from kit.routing import Out


class ClosingOut(Out):
    """An account that is to be closed."""

    state: Literal["asked", "withdrawn", "refused", "done"]
    asked_at: datetime
    closes_at: datetime
    """Until then it can be undone."""
    ended_at: datetime | None
    matters: list[Matter]
    """Of a refusal at the end of the days: what was open."""
