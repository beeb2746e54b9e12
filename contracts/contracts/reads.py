"""Staff read somebody's data: one such event of each service that keeps some."""

from typing import ClassVar

from .event import Event


class _DataRead(Event):
    """A member of staff looked at a thing of an account; told once an hour for each reader and
    thing. `subject` is the id of the read itself."""

    account_id: str
    """Whose data."""
    reader_id: str
    reader_dept: str
    kind: str
    """case | material | licence | payment | shipment"""
    object_id: str
    purpose: str
    """intake | review | supervision | operation"""


class CaseDataRead(_DataRead):
    """Staff read a case or a material of it."""

    TYPE: ClassVar[str] = "case.data_read.v1"


class LicenceDataRead(_DataRead):
    """Staff read a licence."""

    TYPE: ClassVar[str] = "licence.data_read.v1"


class PaymentDataRead(_DataRead):
    """Staff read a payment."""

    TYPE: ClassVar[str] = "payment.data_read.v1"


class ShipmentDataRead(_DataRead):
    """Staff read a shipment."""

    TYPE: ClassVar[str] = "logistics.data_read.v1"
