"""Events owned by catalog-svc."""

from typing import ClassVar

from .event import Event


class ItemPublished(Event):
    """A version of a service item is in force; it is frozen from now on."""

    TYPE: ClassVar[str] = "catalog.item_published.v1"
    item_code: str
    item_version: int


class ItemSuspended(Event):
    """The item takes no new cases until it is resumed (item_published comes again)."""

    TYPE: ClassVar[str] = "catalog.item_suspended.v1"
    item_code: str
    item_version: int


class ItemWithdrawn(Event):
    """The item is not offered any more."""

    TYPE: ClassVar[str] = "catalog.item_withdrawn.v1"
    item_code: str
    item_version: int
