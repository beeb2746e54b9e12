"""What logistics-svc knows of a carrier: a small Protocol and its value types.

One file beside this one per carrier. Times are aware UTC, money is integer fen, weight is grams.
Every method that calls out may raise:

- `Unknown`: nobody can say whether the act took place (time-out, lost connection, 5xx). Ask by
  `find` before doing anything else.
- `Refused`: the carrier said no and did nothing; `code` is the carrier's own word.

Names, telephone numbers and addresses go to the carrier only, never into a log or an exception.
Never call a carrier inside a database transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class CarrierError(Exception):
    """Base of all that a carrier raises."""


class Unknown(CarrierError):
    """The outcome is unknown: the act may have taken place."""


class Refused(CarrierError):
    """The carrier refused and did nothing. `code` is its own error code."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message


class BadPush(CarrierError):
    """A push whose form cannot be read. Nothing of it may be believed."""


class TrackStatus(StrEnum):
    """The unified meaning of one step of a parcel."""

    PLACED = "placed"
    PICKED_UP = "picked_up"
    IN_TRANSIT = "in_transit"
    OUT_FOR_DELIVERY = "out_for_delivery"
    READY_FOR_PICKUP = "ready_for_pickup"
    ATTEMPT_FAILED = "attempt_failed"
    DELIVERED = "delivered"
    RETURNING = "returning"
    RETURNED = "returned"
    LOST = "lost"
    CANCELLED = "cancelled"


class PaidBy(StrEnum):
    """Who pays the freight."""

    SENDER = "sender"
    RECEIVER = "receiver"
    ACCOUNT = "account"  # the agency's monthly account at the carrier


@dataclass(frozen=True, slots=True)
class Contact:
    """One end of the journey. `repr` shows no personal data."""

    name: str = field(repr=False)
    mobile: str = field(repr=False)
    province: str
    city: str
    county: str
    address: str = field(repr=False)
    company: str = ""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is to be carried, under our own number `order_no` (≤ 64 characters, used once).

    `holder_id_last8`: the last eight characters of the receiver's id number; if given, the
    courier hands over only after checking the id card.
    """

    order_no: str
    sender: Contact
    receiver: Contact
    contents: str
    pieces: int = 1
    weight_g: int = 500
    paid_by: PaidBy = PaidBy.ACCOUNT
    call_courier: bool = True
    holder_id_last8: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Placed:
    """An order the carrier knows. `cancelled`: it was called off there."""

    order_no: str
    waybill_no: str
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Track:
    """One step, as the carrier tells it. Sort by (`happened_at`, `key`); repetitions have the
    same `key`. `recognised` is False if the carrier's code is not in our table: the status is
    then IN_TRANSIT and somebody should look. `remark` may name people: show it, never log it."""

    key: str
    order_no: str
    waybill_no: str
    status: TrackStatus
    code: str
    happened_at: datetime
    place: str
    remark: str = field(repr=False)
    recognised: bool = True


class Carrier(Protocol):
    """One carrier. `name` is the word in paths, rows and events, such as `sf`."""

    name: str

    async def place(self, parcel: Parcel) -> Placed:
        """Order the carriage. Placing the same `order_no` again gives the first order again."""
        ...

    async def find(self, order_no: str) -> Placed | None:
        """The order under our number, or None if it never arrived there."""
        ...

    async def cancel(self, order_no: str) -> None:
        """Call the order off; twice is no error. Refused once the courier has the parcel. The
        number can never be used again."""
        ...

    async def tracks(self, waybill_nos: Sequence[str]) -> list[Track]:
        """All steps of up to ten waybills, in order of time."""
        ...

    def read_push(self, body: bytes) -> list[Track]:
        """The steps in a call-back: any order, repetitions included. Raises BadPush. The push is
        not signed: the caller checks the secret word in its path first."""
        ...

    def accepted(self) -> tuple[str, bytes]:
        """Content type and body that tell the carrier its push is safely ours."""
        ...

    def not_accepted(self) -> tuple[str, bytes]:
        """Content type and body that make the carrier send its push again."""
        ...
