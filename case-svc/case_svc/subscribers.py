"""What other services tell us, translated into one domain act each."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.identity import AccountClosed, MandateGranted, MandateRevoked
from contracts.licence import LicenceIssued
from contracts.logistics import ShipmentDelivered, ShipmentLost, ShipmentReturned
from contracts.payment import PaymentExpired, PaymentPaid
from kit.inbox import Meta, Subscribers
from kit.secrets import vault_of

from . import decisions, holdings, mandates

on = Subscribers()


@on(MandateGranted)
async def keep_mandate(session: AsyncSession, mandate: MandateGranted, meta: Meta) -> None:
    await mandates.granted(session, mandate)


@on(MandateRevoked)
async def end_mandate(session: AsyncSession, mandate: MandateRevoked, meta: Meta) -> None:
    await mandates.revoked(session, mandate.mandate_id, mandate.principal_id)


@on(PaymentPaid)
async def fee_paid(session: AsyncSession, payment: PaymentPaid, meta: Meta) -> None:
    await decisions.paid(session, case_id=payment.case_id, payment_id=payment.payment_id)


@on(PaymentExpired)
async def fee_expired(session: AsyncSession, payment: PaymentExpired, meta: Meta) -> None:
    await decisions.fee_lapsed(session, case_id=payment.case_id)


@on(LicenceIssued)
async def licence_issued(session: AsyncSession, licence: LicenceIssued, meta: Meta) -> None:
    await decisions.licence_issued(session, case_id=licence.case_id, licence_id=licence.licence_id)


@on(ShipmentDelivered)
async def delivered(session: AsyncSession, shipment: ShipmentDelivered, meta: Meta) -> None:
    await decisions.delivered(session, case_id=shipment.case_id)


@on(ShipmentReturned)
async def returned(session: AsyncSession, shipment: ShipmentReturned, meta: Meta) -> None:
    await decisions.shipment_trouble(session, case_id=shipment.case_id, what="returned")


@on(ShipmentLost)
async def lost(session: AsyncSession, shipment: ShipmentLost, meta: Meta) -> None:
    await decisions.shipment_trouble(session, case_id=shipment.case_id, what="lost")


@on(AccountClosed)
async def erase_drafts(session: AsyncSession, closed: AccountClosed, meta: Meta) -> None:
    await holdings.erase(session, vault_of(session), closed.account_id)
