"""Licences: issued, found, and moved through their states."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.case import Delivery
from contracts.licence import LicenceIssued
from contracts.reads import LicenceDataRead
from kit import reads
from kit.auth import Caller
from kit.clock import CITY, city_day, now
from kit.errors import NotFound
from kit.lookups import Lookup, Reader
from kit.outbox import emit
from kit.rights import reach
from kit.secrets import Vault
from kit.states import move

from . import credentials, numbers, status_lists, types
from .keys import Signer
from .models import LICENCE, LIVE, Licence, LicenceChange, LicenceType, sealed_at

LICENCE_BY_ID = Lookup(select(Licence), by=Licence.id)


@dataclass(frozen=True)
class Holder:
    """Whose licence it is. `number`: citizen id number or credit code."""

    account_id: str
    kind: str
    name: str = field(repr=False)
    number: str = field(repr=False)


@dataclass(frozen=True)
class Grant:
    """What the authority granted."""

    licence_id: str
    licence_type: str
    region: str
    dept: str
    valid_from: date
    years: int | None
    """Years of validity; None: long-term."""
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    case_id: str | None = None
    item_code: str | None = None
    delivery: Delivery = "none"
    address_id: str | None = None


def last_day(valid_from: date, years: int | None) -> date | None:
    """The last day of a validity of whole years; None when long-term."""
    if years is None:
        return None
    try:
        end = valid_from.replace(year=valid_from.year + years)
    except ValueError:  # 29 February in a year that has none
        end = date(valid_from.year + years, 3, 1)
    return end - timedelta(days=1)


def today() -> date:
    """The date in the city."""
    return city_day(now())


async def issue(
    session: AsyncSession, vault: Vault, signer: Signer, holder: Holder, grant: Grant
) -> Licence:
    """Make, sign and announce a licence. Where a holder can have but one of the type, the one
    that lived is replaced by the next edition. Raises UnknownType, UnknownIssuer (409)."""
    kind, issuer = await types.find(session, grant.licence_type, grant.dept)
    issued_at = now()
    holder_index = vault.index(holder.number)
    former = await _replace(session, kind, holder_index)
    ordinal = await session.scalar(
        select(func.nextval(func.pg_get_serial_sequence("licence", "ordinal")))
    )
    assert ordinal is not None
    serial, edition = f"{city_day(issued_at).year}{ordinal:09d}", 1
    if former is not None and former.issuer_code == issuer.uscc:
        serial, edition = former.serial, former.edition + 1

    def seal(column: str, value: str) -> bytes:
        return vault.seal(value, bound_to=sealed_at("licence", column, grant.licence_id))

    said = {k: v for k, v in grant.fields.items() if k in kind.face_fields and v is not None}
    opened = {k: v for k, v in said.items() if k in kind.open_fields}
    hidden = {k: v for k, v in said.items() if k not in kind.open_fields}
    row = Licence(
        id=grant.licence_id,
        version=1,
        state="active",
        ordinal=ordinal,
        licence_type=kind.code,
        type_code=kind.type_code,
        name=kind.name,
        number=numbers.compose(kind.type_code, issuer.uscc, serial, edition),
        serial=serial,
        edition=edition,
        issuer_code=issuer.uscc,
        issuer_name=issuer.name,
        region=grant.region,
        dept=grant.dept,
        holder_id=holder.account_id,
        holder_kind=holder.kind,
        holder_name=seal("holder_name", holder.name),
        holder_number=seal("holder_number", holder.number),
        holder_index=holder_index,
        per_holder=kind.per_holder,
        fields=opened,
        sealed_fields=seal("sealed_fields", json.dumps(hidden, ensure_ascii=False)),
        kid=signer.key.kid,
        valid_from=grant.valid_from,
        valid_until=last_day(grant.valid_from, grant.years),
        case_id=grant.case_id,
        item_code=grant.item_code,
        issued_at=issued_at,
    )
    row.credential = seal("credential", _credential(signer, row, holder, hidden))
    session.add(row)
    emit(
        session,
        LicenceIssued(
            licence_id=row.id,
            licence_type=row.licence_type,
            holder_id=row.holder_id,
            case_id=row.case_id,
            item_code=row.item_code,
            valid_from=row.valid_from,
            valid_until=row.valid_until,
            delivery=grant.delivery,
            address_id=grant.address_id,
        ),
        subject=row.id,
        version=row.version,
        region=row.region,
        dept=row.dept,
    )
    await session.flush()
    return row


async def _replace(session: AsyncSession, kind: LicenceType, holder_index: str) -> Licence | None:
    if not kind.per_holder:
        return None
    former = await session.scalar(
        select(Licence)
        .where(
            Licence.licence_type == kind.code,
            Licence.holder_index == holder_index,
            Licence.per_holder,
            Licence.state.in_(LIVE),
        )
        .with_for_update()
    )
    if former is not None:
        move(session, former, LICENCE, "replace", **_told(former))
        # The unique index must see the former one gone before the new one comes.
        await session.flush()
    return former


def _credential(
    signer: Signer, row: Licence, holder: Holder, hidden_fields: Mapping[str, Any]
) -> str:
    claims: dict[str, Any] = {
        "iss": signer.issuer,
        "iat": int(row.issued_at.timestamp()),
        "nbf": int(_midnight(row.valid_from).timestamp()),
        "vct": f"urn:cn:beam:licence:{row.licence_type}",
        "licence_id": row.id,
        "licence_type": row.licence_type,
        "licence_name": row.name,
        "licence_type_code": row.type_code,
        "number": row.number,
        "issuing_authority": row.issuer_name,
        "issuing_authority_code": row.issuer_code,
        "valid_from": row.valid_from.isoformat(),
        "valid_until": row.valid_until.isoformat() if row.valid_until else None,
        "status": {"status_list": status_lists.place(signer.issuer, row.ordinal)},
    }
    if row.valid_until is not None:
        claims["exp"] = int(_midnight(row.valid_until + timedelta(days=1)).timestamp())
    return credentials.issue(
        signer,
        claims,
        hidden={
            "holder_kind": holder.kind,
            "holder_name": holder.name,
            "holder_number": holder.number,
        },
        fields=row.fields,
        hidden_fields=hidden_fields,
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), CITY)


async def of_holder(lookups: Reader, holder_id: str, licence_id: str) -> Licence:
    """A licence of this account, to be read. Raises NotFound, also for somebody else's."""
    row = await lookups.one(LICENCE_BY_ID, licence_id)
    if row is None or row.holder_id != holder_id:
        raise NotFound("没有找到这张证照。", "There is no such licence of yours.")
    return row


async def list_of_holder(
    session: AsyncSession,
    holder_id: str,
    *,
    licence_type: str | None,
    before: int | None,
    limit: int,
) -> list[Licence]:
    """An account's licences, newest first, at most `limit`, those with an ordinal < `before`."""
    wanted = select(Licence).where(Licence.holder_id == holder_id)
    if licence_type is not None:
        wanted = wanted.where(Licence.licence_type == licence_type)
    if before is not None:
        wanted = wanted.where(Licence.ordinal < before)
    return list(await session.scalars(wanted.order_by(Licence.ordinal.desc()).limit(limit)))


async def list_in_force(session: AsyncSession, holder_id: str) -> list[Licence]:
    """Of each type the newest licence of the account that is in force today."""
    day = today()
    newest = (
        select(func.max(Licence.ordinal))
        .where(
            Licence.holder_id == holder_id,
            Licence.state == "active",
            Licence.valid_from <= day,
            or_(Licence.valid_until.is_(None), Licence.valid_until >= day),
        )
        .group_by(Licence.licence_type)
    )
    wanted = select(Licence).where(Licence.ordinal.in_(newest)).order_by(Licence.licence_type)
    return list(await session.scalars(wanted))


async def of_issuer(session: AsyncSession, staff: Caller, licence_id: str) -> Licence:
    """A licence within the reach of the caller's department, region and items, locked.
    Raises NotFound."""
    row = await session.scalar(
        select(Licence)
        .where(
            Licence.id == licence_id,
            reach(staff, dept=Licence.dept, region=Licence.region, item=Licence.item_code),
        )
        .with_for_update()
    )
    if row is None:
        raise NotFound("本部门没有签发过这张证照。", "Your department issued no such licence.")
    read = LicenceDataRead(
        account_id=row.holder_id, kind="licence", object_id=row.id, **reads.reader(staff)
    )
    await reads.tell(session, staff, read)
    return row


def _told(row: Licence) -> dict[str, str]:
    return {"licence_id": row.id, "licence_type": row.licence_type, "holder_id": row.holder_id}


def change(
    session: AsyncSession, row: Licence, action: str, *, reason_code: str, actor: str
) -> None:
    """Suspend, resume or revoke a locked licence, and keep who did it and why.
    Raises IllegalMove (409)."""
    move(session, row, LICENCE, action, **_told(row))
    session.add(
        LicenceChange(licence_id=row.id, action=action, reason_code=reason_code, actor=actor)
    )


async def expire_overdue(session: AsyncSession, *, limit: int = 200) -> int:
    """Expire live licences whose last day is over. Returns how many those were."""
    rows = list(
        await session.scalars(
            select(Licence)
            .where(Licence.state.in_(LIVE), Licence.valid_until < today())
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )
    for row in rows:
        move(session, row, LICENCE, "expire", **_told(row))
    return len(rows)
