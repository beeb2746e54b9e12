"""Reading the catalogue: what is in force, what was, and the directories beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.errors import NotFound
from kit.lookups import Lookup, Reader

from .contents import TASK_TYPES
from .models import FROZEN, IN_FORCE, Department, Item, ItemVersion, Package, Region

CITY_REGION = "310000"


@dataclass(frozen=True)
class Published:
    """A frozen version with what stands beside it."""

    item_version: int
    """Counts what the public sees change: the ETag."""
    code: str
    dept: str
    dept_name: str
    number: int
    state: str
    region: str
    valid_from: datetime | None
    valid_to: datetime | None
    content: dict[str, Any]

    def detail(self) -> dict[str, Any]:
        """The public answer (schemas.ItemDetail)."""
        content = self.content
        return {
            "code": self.code,
            "version": self.number,
            "state": self.state,
            "dept": self.dept,
            "dept_name": self.dept_name,
            "region_scope": self.region,
            "valid_from": self.valid_from,
            "valid_to": self.valid_to,
            "task_type_text": TASK_TYPES[content["task_type"]],
            **content,
        }


_COLUMNS = (
    Item.version,
    Item.code,
    Item.dept,
    Department.name,
    ItemVersion.number,
    ItemVersion.state,
    ItemVersion.region,
    ItemVersion.valid_from,
    ItemVersion.valid_to,
    ItemVersion.content,
)


_VERSIONS = (
    select(*_COLUMNS)
    .join(Department, Department.code == Item.dept)
    .join(ItemVersion, ItemVersion.item_code == Item.code)
)
_CURRENT = Lookup(_VERSIONS.where(ItemVersion.state.in_(IN_FORCE)), by=Item.code)


def no_item() -> NotFound:
    return NotFound("没有这个事项,请核对事项编码。", "There is no such item.")


async def current(lookups: Reader, code: str) -> Published:
    """The version in force; its state is `published`, or `suspended` while no new cases are taken.
    Raises NotFound."""
    row = await lookups.one(_CURRENT, code)
    if row is None:
        raise no_item()
    return Published(*tuple(row)[: len(_COLUMNS)])


async def numbered(session: AsyncSession, code: str, number: int) -> Published:
    """A version that is or was in force. Raises NotFound."""
    query = _VERSIONS.where(
        Item.code == code, ItemVersion.number == number, ItemVersion.valid_from.is_not(None)
    )
    row = (await session.execute(query)).first()
    if row is None:
        raise no_item()
    return Published(*tuple(row))


async def history(session: AsyncSession, code: str) -> Sequence[Any]:
    """Every version that is or was in force, newest first. Raises NotFound."""
    query = (
        select(ItemVersion.number, ItemVersion.state, ItemVersion.valid_from, ItemVersion.valid_to)
        .where(
            ItemVersion.item_code == code,
            ItemVersion.state.in_(FROZEN),
            ItemVersion.valid_from.is_not(None),
        )
        .order_by(ItemVersion.number.desc())
    )
    rows = (await session.execute(query)).all()
    if not rows:
        raise no_item()
    return rows


async def regions(session: AsyncSession) -> Sequence[Region]:
    return (await session.scalars(select(Region).order_by(Region.code))).all()


async def packages(session: AsyncSession) -> Sequence[Package]:
    return (await session.scalars(select(Package).order_by(Package.code))).all()
