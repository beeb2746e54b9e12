"""The address book: people, telephones and streets lie sealed and come out masked."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.clock import now
from kit.errors import Conflict, NotFound
from kit.ids import new_id
from kit.secrets import Vault, mask_name, mask_phone

from .carriers import Contact
from .models import Address

MOST = 20
SEALED = ("name", "mobile", "street")


def _bound(field: str, address_id: str) -> str:
    return f"address|{field}|{address_id}"


async def add(
    session: AsyncSession,
    vault: Vault,
    *,
    account_id: str,
    province: str,
    city: str,
    county: str,
    **personal: str,
) -> Address:
    """A new entry; `personal` holds name, mobile and street. Raises Conflict at 20 entries."""
    query = select(func.count()).select_from(Address)
    mine = query.filter_by(account_id=account_id, deleted_at=None)
    if (await session.scalar(mine) or 0) >= MOST:
        raise Conflict(
            "地址簿最多保存 20 个地址。请先删除不用的地址。",
            "The address book holds 20 entries; delete one first.",
        )
    address = Address(
        id=new_id("addr"), account_id=account_id, province=province, city=city, county=county
    )
    for field in SEALED:
        sealed = vault.seal(personal[field], bound_to=_bound(field, address.id))
        setattr(address, field, sealed)
    session.add(address)
    await session.flush()
    return address


async def own(session: AsyncSession, address_id: str, account_id: str) -> Address:
    """Raises NotFound."""
    address = await session.get(Address, address_id)
    if address is None or address.account_id != account_id or address.deleted_at:
        raise NotFound("地址簿里没有这个地址。", "There is no such address in your book.")
    return address


async def all_of(session: AsyncSession, account_id: str) -> Sequence[Address]:
    query = select(Address).filter_by(account_id=account_id, deleted_at=None)
    return (await session.scalars(query.order_by(Address.id))).all()


def remove(address: Address) -> None:
    """Take it out of the book; shipments under way keep their destination."""
    address.deleted_at = now()


def opened(vault: Vault, address: Address) -> dict[str, str]:
    return {
        field: vault.open(getattr(address, field), bound_to=_bound(field, address.id))
        for field in SEALED
    }


def masked(vault: Vault, address: Address) -> dict[str, Any]:
    """The entry as its owner sees it again."""
    personal = opened(vault, address)
    return {
        "id": address.id,
        "province": address.province,
        "city": address.city,
        "county": address.county,
        "name": mask_name(personal["name"]),
        "mobile": mask_phone(personal["mobile"]),
        "street": personal["street"][:3] + "***",
    }


def contact(vault: Vault, address: Address) -> Contact:
    """For the carrier, in clear."""
    personal = opened(vault, address)
    return Contact(
        name=personal["name"],
        mobile=personal["mobile"],
        province=address.province,
        city=address.city,
        county=address.county,
        address=personal["street"],
    )


def blank(vault: Vault, address: Address) -> None:
    """Nothing personal is left of the entry."""
    for field in SEALED:
        setattr(address, field, vault.seal("", bound_to=_bound(field, address.id)))
