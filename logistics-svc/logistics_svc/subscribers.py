"""What other services tell us."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.identity import AccountClosed
from contracts.licence import LicenceIssued
from kit.inbox import Meta, Subscribers
from kit.secrets import vault_of

from . import holdings, shipments

on = Subscribers()


@on(LicenceIssued)
async def plan_shipment(session: AsyncSession, licence: LicenceIssued, meta: Meta) -> None:
    if licence.delivery != "courier" or licence.case_id is None:
        return
    await shipments.plan(
        session,
        licence_id=licence.licence_id,
        case_id=licence.case_id,
        receiver_id=licence.holder_id,
        address_id=licence.address_id,
        region=meta.region,
        dept=meta.dept,
        item_code=licence.item_code,
    )


@on(AccountClosed)
async def erase_addresses(session: AsyncSession, closed: AccountClosed, meta: Meta) -> None:
    await holdings.erase(session, vault_of(session), closed.account_id)
