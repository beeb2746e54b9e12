"""Tables of logistics-svc: the address book, shipments, and what carriers tell of them."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from contracts.event import Event
from contracts.logistics import (
    ShipmentDelivered,
    ShipmentLost,
    ShipmentPickedUp,
    ShipmentPlaced,
    ShipmentReturned,
)
from kit.db import APPEND_ONLY, Now, Sealed, ServiceBase, new_metadata
from kit.states import Transitions

ON_THE_WAY = (
    "placed",
    "picked_up",
    "in_transit",
    "out_for_delivery",
    "ready_for_pickup",
    "attempt_failed",
    "returning",
)
_TOLD: dict[str, type[Event] | None] = {
    "picked_up": ShipmentPickedUp,
    "in_transit": None,
    "out_for_delivery": None,
    "ready_for_pickup": None,
    "attempt_failed": None,
    "returning": None,
    "delivered": ShipmentDelivered,
    "returned": ShipmentReturned,
    "lost": ShipmentLost,
    "cancelled": None,
}
SHIPMENT_TRANSITIONS: Transitions = {
    ("draft", "place"): ("placed", ShipmentPlaced),
    ("draft", "fail"): ("failed", None),
    ("failed", "retry"): ("draft", None),
    # What the carrier's last step says, from wherever the parcel was: pushes may skip steps.
    **{
        (source, target): (target, event)
        for source in ON_THE_WAY
        for target, event in _TOLD.items()
        if source != target
    },
}


class Base(ServiceBase):
    metadata = new_metadata()


class Address(Base):
    """An entry of somebody's address book. Province, city and county are no secret alone."""

    __tablename__ = "address"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(index=True)
    province: Mapped[str]
    city: Mapped[str]
    county: Mapped[str]
    name: Mapped[Sealed]
    mobile: Mapped[Sealed]
    street: Mapped[Sealed]
    created_at: Mapped[Now]
    deleted_at: Mapped[datetime | None]


class Shipment(Base):
    """One parcel to an applicant. Its state follows the carrier's last step, never goes back."""

    __tablename__ = "shipment"
    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    version: Mapped[int]
    region: Mapped[str]
    dept: Mapped[str]
    item_code: Mapped[str | None]
    """Of the case; staff may be limited to some items."""
    case_id: Mapped[str] = mapped_column(index=True)
    licence_id: Mapped[str]
    receiver_id: Mapped[str] = mapped_column(index=True)
    address_id: Mapped[str]
    carrier: Mapped[str]
    waybill_no: Mapped[str | None]
    trouble: Mapped[str | None]
    """Why it could not be placed: a code, for staff."""
    tries: Mapped[int]
    due_at: Mapped[datetime]
    """When the next try, or the next question to the carrier, is due."""
    moved_to: Mapped[datetime | None]
    """The carrier's time of the step that set the state; earlier steps no longer count."""
    created_at: Mapped[Now]
    __table_args__ = (
        Index("shipment_due_idx", "state", "due_at"),
        Index(
            "shipment_waybill_no_key",
            "carrier",
            "waybill_no",
            unique=True,
            postgresql_where=text("waybill_no is not null"),
        ),
    )


class TrackEvent(Base):
    """One step as the carrier told it; kept once however often it is told."""

    __tablename__ = "track_event"
    shipment_id: Mapped[str] = mapped_column(ForeignKey("shipment.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    code: Mapped[str]
    happened_at: Mapped[datetime]
    place: Mapped[str]
    recognised: Mapped[bool]
    told_at: Mapped[Now]
    __table_args__ = ({"info": APPEND_ONLY},)
