"""What logistics-svc holds of an account, what must end before the account does, and what goes
then."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.clock import now
from kit.holdings import MOST_MATTERS, Asked, Open, Part, Record, picked
from kit.secrets import Vault

from . import addresses
from .models import ON_THE_WAY, Address, Shipment, TrackEvent


async def _addresses(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    """Also those that were taken out of the book: they are held until the account is closed."""
    rows = await asked.rows(session, Address, Address.account_id)
    columns = ("id", "province", "city", "county", "created_at", "deleted_at")
    return [{**picked(row, *columns), **addresses.opened(asked.vault, row)} for row in rows]


async def _shipments(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    rows = await asked.rows(session, Shipment, Shipment.receiver_id)
    steps: dict[str, list[Record]] = {row.id: [] for row in rows}
    tracks = select(TrackEvent).where(TrackEvent.shipment_id.in_(steps))
    for step in await session.scalars(tracks.order_by(TrackEvent.happened_at, TrackEvent.key)):
        steps[step.shipment_id].append(picked(step, "status", "place", "happened_at"))
    columns = ("id", "case_id", "licence_id", "address_id", "carrier", "waybill_no", "state")
    return [{**picked(row, *columns, "created_at"), "tracks": steps[row.id]} for row in rows]


PARTS = (
    Part("addresses", "地址簿", "Address book", _addresses),
    Part("shipments", "寄递", "Shipments", _shipments),
)


async def open_matters(session: AsyncSession, account_id: str) -> list[Open]:
    """Parcels that have not arrived."""
    under_way = Shipment.state.in_(("draft", "failed", *ON_THE_WAY))
    query = select(Shipment.id).where(Shipment.receiver_id == account_id, under_way)
    found = await session.scalars(query.order_by(Shipment.id.desc()).limit(MOST_MATTERS))
    return [("shipment", shipment_id) for shipment_id in found]


async def erase(session: AsyncSession, vault: Vault, account_id: str) -> None:
    """The account was closed: names, telephones and streets go, also of entries that were taken
    out of the book before. Shipments keep their numbers and tracks, which name nobody."""
    rows = await session.scalars(
        select(Address)
        .where(Address.account_id == account_id)
        .order_by(Address.id)
        .with_for_update()
    )
    for address in rows:
        addresses.blank(vault, address)
        address.deleted_at = address.deleted_at or now()
