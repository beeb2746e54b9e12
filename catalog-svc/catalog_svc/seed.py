"""The demo city: departments, districts, materials, 97 items, packages, synonyms.

Run again it adds only what is missing; what operators changed stays.
"""

import json
from pathlib import Path
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit.ids import derived_id
from kit.runtime import Runtime

from . import codes, synonyms, versions
from .contents import ItemContent
from .items import CITY_REGION
from .models import Base, Department, Item, ItemVersion, MaterialDef, Package, Region

DATA = Path(__file__).parent / "data"
BY = "seed"


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of one of the packaged files."""
    document = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = document["rows"]
    return found


async def seed(runtime: Runtime) -> None:
    """Fill the catalogue; one transaction, one process at a time."""
    async with runtime.sessions.begin() as session:
        await session.execute(text("select pg_advisory_xact_lock(hashtext('catalog seed'))"))
        departments = rows("departments")
        for department in departments:
            codes.check_uscc(department["uscc"])
        tables: list[tuple[type[Base], list[dict[str, Any]]]] = [
            (Department, departments),
            (Region, rows("regions")),
            (MaterialDef, rows("materials")),
            (Package, rows("packages")),
        ]
        for table, values in tables:
            await session.execute(insert(table).values(values).on_conflict_do_nothing())
        said = [synonyms.row_of(row["term"], row["means"]) for row in rows("synonyms")]
        await session.execute(synonyms.adding(said))
        await _items(session)


async def _items(session: AsyncSession) -> None:
    there = set(await session.scalars(select(Item.code)))
    new = [row for row in rows("items") if row["code"] not in there]
    materials = {m.code: m for m in await session.scalars(select(MaterialDef))}
    depts = {d.code: d.name for d in await session.scalars(select(Department))}
    items = {row["code"]: Item(code=row["code"], dept=row["dept"], version=1) for row in new}
    session.add_all(items.values())
    await session.flush()
    for row in new:
        item = items[row["code"]]
        content = {key: row[key] for key in ItemContent.model_fields}
        first = ItemVersion(
            id=derived_id("itv", item.code, "1"),
            item_code=item.code,
            item_number=item.number,
            number=1,
            state="in_review",
            version=1,
            region=CITY_REGION,
            dept=item.dept,
            content=content,
            edited_by=BY,
        )
        session.add(first)
        await versions.release(
            session, item, first, before=None, materials=materials, depts=depts, by=BY
        )
