"""Answers about the export of one's data."""

from datetime import datetime
from typing import Literal

from kit.routing import Out


class ExportSourceOut(Out):
    source: str
    done: bool
    """It has told everything that it holds."""
    records: int


class ExportOut(Out):
    """How far a copy of one's data is."""

    id: str
    state: Literal["gathering", "ready", "expired"]
    asked_at: datetime
    ready_at: datetime | None
    expires_at: datetime | None
    """When a ready one is deleted."""
    sources: list[ExportSourceOut]


class ExportsOut(Out):
    items: list[ExportOut]
