"""Doors of exchange-svc."""

from .events import router as events
from .matters import router as matters
from .partners import router as partners

__all__ = ["events", "matters", "partners"]
