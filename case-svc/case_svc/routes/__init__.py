"""Doors of case-svc: who may, and which one domain act."""

from .cases import router as cases
from .internal import router as internal
from .tasks import router as tasks
from .window import router as window

__all__ = ["cases", "internal", "tasks", "window"]
