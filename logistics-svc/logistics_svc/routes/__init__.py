"""Doors of logistics-svc."""

from .addresses import router as addresses
from .callbacks import router as callbacks
from .shipments import router as shipments

__all__ = ["addresses", "callbacks", "shipments"]
