"""Events owned by catalog-svc."""

from typing import ClassVar

from .event import Event


class ItemPublished(Event):
    """A version of a service item is in force; it is frozen from now on."""

    TYPE: ClassVar[str] = "catalog.item_published.v1"
    item_code: str
    item_version: int
