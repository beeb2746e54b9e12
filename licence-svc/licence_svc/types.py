"""The kinds of licences and their issuers: reference data that comes with the code."""

import json
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit.errors import Problem

from .models import Issuer, LicenceType

_REFERENCE = Path(__file__).with_name("reference.json")


class UnknownType(Problem):
    status, code = 409, "licence_type_unknown"
    title = ("没有这种证照", "There is no such licence type")


class UnknownIssuer(Problem):
    status, code = 409, "licence_issuer_unknown"
    title = ("该部门未登记为发证机关", "The department is not known as an issuer")


async def load(session: AsyncSession) -> None:
    """Bring the tables up to the reference data of this version; nothing is removed."""
    reference = json.loads(_REFERENCE.read_text())
    uscc = {row["dept"]: row["uscc"] for row in reference["issuers"]}
    issuers = [{k: row[k] for k in ("dept", "name", "uscc")} for row in reference["issuers"]]
    kinds = [
        {
            "code": row["code"],
            "name": row["name"],
            "definer": row["definer"],
            "type_code": uscc[row["definer"]] + row["serial"],
            "per_holder": row["per_holder"],
            "face_fields": row["face_fields"],
            "open_fields": row["open_fields"],
        }
        for row in reference["types"]
    ]
    for table, rows, key in ((Issuer, issuers, "dept"), (LicenceType, kinds, "code")):
        statement = insert(table).values(sorted(rows, key=lambda row: str(row[key])))
        changed = {name: statement.excluded[name] for name in rows[0] if name != key}
        await session.execute(statement.on_conflict_do_update(index_elements=[key], set_=changed))


async def every(session: AsyncSession) -> list[LicenceType]:
    return list(await session.scalars(select(LicenceType).order_by(LicenceType.code)))


async def find(session: AsyncSession, code: str, dept: str) -> tuple[LicenceType, Issuer]:
    """A type and the department that issues. Raises UnknownType, UnknownIssuer (409)."""
    kind = await session.get(LicenceType, code)
    if kind is None:
        raise UnknownType("没有这种证照类型。请先登记类型。", "Register the licence type first.")
    issuer = await session.get(Issuer, dept)
    if issuer is None:
        raise UnknownIssuer("该部门未登记为发证机关。", "The department is no known issuer.")
    return kind, issuer
