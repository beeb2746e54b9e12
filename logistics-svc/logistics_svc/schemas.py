"""Requests and answers of logistics-svc."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from kit.routing import In, Out

Place = Annotated[str, Field(min_length=2, max_length=30)]


class AddressIn(In):
    name: Annotated[str, Field(min_length=1, max_length=50)]
    mobile: Annotated[str, Field(pattern=r"^1[3-9]\d{9}$", examples=["13800000001"])]
    province: Place = "上海市"
    city: Place = "上海市"
    county: Place = "浦东新区"
    street: Annotated[str, Field(min_length=3, max_length=120)]


class AddressOut(Out):
    """Masked: who wrote it knows it."""

    id: str
    name: str
    mobile: str
    province: str
    city: str
    county: str
    street: str


class TrackOut(Out):
    status: str
    happened_at: datetime
    place: str


ShipmentState = Literal[
    "draft",
    "failed",
    "placed",
    "picked_up",
    "in_transit",
    "out_for_delivery",
    "ready_for_pickup",
    "attempt_failed",
    "returning",
    "delivered",
    "returned",
    "lost",
    "cancelled",
]


class ShipmentLine(Out):
    id: str
    case_id: str
    licence_id: str
    state: ShipmentState
    version: int
    carrier: str
    waybill_no: str | None
    trouble: str | None
    created_at: datetime


class ShipmentOut(ShipmentLine):
    tracks: list[TrackOut]
