"""What services tell each other and the outside: events and value types. No I/O, no logic."""

from . import audit, case, catalog, exchange, helpdesk, identity, licence, logistics, payment
from .event import EVENTS, Envelope, Event

__all__ = [
    "EVENTS",
    "Envelope",
    "Event",
    "audit",
    "case",
    "catalog",
    "exchange",
    "helpdesk",
    "identity",
    "licence",
    "logistics",
    "payment",
]
