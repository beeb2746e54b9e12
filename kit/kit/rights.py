"""What a member of the staff may do where: role × department × region × item, from the token.

The claims are `roles`, `dept`, `region` (six digits of GB/T 2260) and, for staff who handle some
items only, `items`. A region contains its sub-regions: 310000 is the whole of Shanghai, 310115 one
district of it. A thing that belongs to no item is for staff who are not limited to items.

`may` answers for one thing in hand, `reach` is the same rule as a condition of a query: use it
where the row is loaded, so that what is out of reach is not found.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, false

from .auth import Caller

WHOLE_CITY = "310000"


def bounds(region: str) -> tuple[str, str]:
    """The first and last code that can lie in a region, itself included: 310000 → 310000, 319999.
    As bounds they serve an index, which a prefix does not in every collation."""
    prefix = region
    while prefix.endswith("00"):
        prefix = prefix[:-2]
    return prefix.ljust(6, "0"), prefix.ljust(6, "9")


def contains(region: str, place: str) -> bool:
    """Whether `place` is the region or lies in it (both six digits of GB/T 2260)."""
    first, last = bounds(region)
    return len(place) == 6 and first <= place <= last


def may(
    caller: Caller,
    role: str,
    *,
    dept: str | None = None,
    region: str | None = None,
    item: str | None = None,
) -> bool:
    """Whether the caller is staff with this role for a thing of this department, region and item;
    what is left out is not asked about."""
    if caller.kind != "staff" or role not in caller.roles:
        return False
    if dept is not None and caller.dept != dept:
        return False
    if region is not None and not (caller.region and contains(caller.region, region)):
        return False
    return item is None or caller.items is None or item in caller.items


def reach(caller: Caller, *, dept: Any, region: Any, item: Any = None) -> ColumnElement[bool]:
    """The condition on a thing's columns under which staff reach it; nothing for everyone else.

    `item` None: the table names no item, so staff who are limited to items reach nothing in it.
    """
    if caller.kind != "staff" or not caller.dept or not caller.region:
        return false()
    first, last = bounds(caller.region)
    here = region == first if first == last else region.between(first, last)
    if caller.items is None:
        return and_(dept == caller.dept, here)
    if item is None:
        return false()
    return and_(dept == caller.dept, here, item.in_(sorted(caller.items)))
