"""Events owned by exchange-svc."""

from typing import ClassVar

from .event import Event


class SystemConnected(Event):
    """A department's system has its credentials and its durable consumer."""

    TYPE: ClassVar[str] = "exchange.system_connected.v1"
    partner_id: str
    system_dept: str
