"""Events owned by logistics-svc. `subject` is the shipment's id."""

from datetime import datetime
from typing import ClassVar

from .event import Event


class _Shipment(Event):
    shipment_id: str
    case_id: str
    receiver_id: str
    carrier: str
    happened_at: datetime


class ShipmentPlaced(_Shipment):
    """The carrier took the order."""

    TYPE: ClassVar[str] = "logistics.shipment_placed.v1"


class ShipmentPickedUp(_Shipment):
    """The carrier has the parcel."""

    TYPE: ClassVar[str] = "logistics.shipment_picked_up.v1"


class ShipmentDelivered(_Shipment):
    """The receiver has the parcel."""

    TYPE: ClassVar[str] = "logistics.shipment_delivered.v1"


class ShipmentReturned(_Shipment):
    """The parcel came back to the sender; somebody must act."""

    TYPE: ClassVar[str] = "logistics.shipment_returned.v1"


class ShipmentLost(_Shipment):
    """The carrier lost the parcel; somebody must act."""

    TYPE: ClassVar[str] = "logistics.shipment_lost.v1"
