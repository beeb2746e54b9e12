"""What other services (and we ourselves) tell, translated into one domain act each."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.case import CaseClosed, CaseMandateUsed
from contracts.identity import AccountRegistered, AccountVerified
from contracts.licence import (
    LicenceExpired,
    LicenceIssued,
    LicenceReplaced,
    LicenceResumed,
    LicenceRevoked,
    LicenceSuspended,
)
from contracts.reads import CaseDataRead, LicenceDataRead, PaymentDataRead, ShipmentDataRead
from kit.inbox import Meta, Subscribers
from kit.secrets import vault_of

from . import access_logs, mandates, profile_rules, profiles

on = Subscribers()
LicenceTold = LicenceSuspended | LicenceResumed | LicenceRevoked | LicenceReplaced | LicenceExpired


@on(AccountRegistered)
async def know_registered(session: AsyncSession, account: AccountRegistered, _: Meta) -> None:
    await profiles.proven(session, vault_of(session), account.account_id)


@on(AccountVerified)
async def know_verified(session: AsyncSession, account: AccountVerified, _: Meta) -> None:
    await profiles.proven(session, vault_of(session), account.account_id)


@on(LicenceIssued)
async def know_licence(session: AsyncSession, licence: LicenceIssued, meta: Meta) -> None:
    last = licence.valid_until
    await profiles.learn(
        session,
        vault_of(session),
        licence.holder_id,
        key=f"licence.{licence.licence_type}",
        value=licence.licence_type,
        source="licence",
        source_ref=licence.licence_id,
        dept=meta.dept,
        source_version=meta.version,
        obtained_at=meta.time,
        expires_at=profile_rules.midnight(last + timedelta(days=1)) if last else None,
    )


async def _licence_is(session: AsyncSession, licence: LicenceTold, meta: Meta, state: str) -> None:
    await profiles.learn(
        session,
        vault_of(session),
        licence.holder_id,
        key=f"licence.{licence.licence_type}",
        value=licence.licence_type,
        source="licence",
        source_ref=licence.licence_id,
        dept=meta.dept,
        source_version=meta.version,
        state=state,
        obtained_at=meta.time,
        state_only=True,
    )


@on(LicenceSuspended)
async def licence_suspended(session: AsyncSession, licence: LicenceSuspended, meta: Meta) -> None:
    await _licence_is(session, licence, meta, "suspended")


@on(LicenceResumed)
async def licence_resumed(session: AsyncSession, licence: LicenceResumed, meta: Meta) -> None:
    await _licence_is(session, licence, meta, "valid")


@on(LicenceRevoked)
async def licence_revoked(session: AsyncSession, licence: LicenceRevoked, meta: Meta) -> None:
    await _licence_is(session, licence, meta, "withdrawn")


@on(LicenceReplaced)
async def licence_replaced(session: AsyncSession, licence: LicenceReplaced, meta: Meta) -> None:
    await _licence_is(session, licence, meta, "withdrawn")


@on(LicenceExpired)
async def licence_expired(session: AsyncSession, licence: LicenceExpired, meta: Meta) -> None:
    await _licence_is(session, licence, meta, "expired")


@on(CaseClosed)
async def know_closed_case(session: AsyncSession, case: CaseClosed, meta: Meta) -> None:
    key = f"case.{case.item_code}"
    days = (profile_rules.about(key) or {})["days"]
    await profiles.learn(
        session,
        vault_of(session),
        case.applicant_id,
        key=key,
        value=case.outcome,
        source="case",
        source_ref=case.case_id,
        dept=meta.dept,
        source_version=meta.version,
        obtained_at=meta.time,
        expires_at=profile_rules.declared_until(days, meta.time),
    )


@on(CaseMandateUsed)
async def count_mandate_use(session: AsyncSession, use: CaseMandateUsed, _: Meta) -> None:
    await mandates.used(session, use.mandate_id, use.uses)


DataRead = CaseDataRead | LicenceDataRead | PaymentDataRead | ShipmentDataRead


async def _log(session: AsyncSession, read: DataRead, meta: Meta) -> None:
    await access_logs.keep(
        session,
        read.account_id,
        reader=read.reader_id,
        dept=read.reader_dept,
        kind=read.kind,
        object_id=read.object_id,
        purpose=read.purpose,
        at=meta.time,
    )


@on(CaseDataRead)
async def log_case_read(session: AsyncSession, read: CaseDataRead, meta: Meta) -> None:
    await _log(session, read, meta)


@on(LicenceDataRead)
async def log_licence_read(session: AsyncSession, read: LicenceDataRead, meta: Meta) -> None:
    await _log(session, read, meta)


@on(PaymentDataRead)
async def log_payment_read(session: AsyncSession, read: PaymentDataRead, meta: Meta) -> None:
    await _log(session, read, meta)


@on(ShipmentDataRead)
async def log_shipment_read(session: AsyncSession, read: ShipmentDataRead, meta: Meta) -> None:
    await _log(session, read, meta)
