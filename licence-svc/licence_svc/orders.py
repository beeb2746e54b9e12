"""Licence orders: an approved case waits here until its licence exists, however long that takes.

Who holds it and what it says is asked from identity-svc and case-svc outside any transaction,
under a lease, so that a process killed in between loses nothing and keeps nobody waiting for long.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, cast

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.case import CaseDecided, Delivery
from kit import context
from kit.clock import now
from kit.errors import NotFound, Problem
from kit.ids import derived_id
from kit.inbox import Meta
from kit.jobs import wake
from kit.secrets import Vault
from kit.states import move

from . import licences
from .keys import Signer
from .models import ORDER, Licence, LicenceOrder

LEASE = timedelta(seconds=10)
"""After it another process may ask again; that only costs, `fulfil` issues once."""
FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(seconds=60)


class HolderUnproven(Problem):
    status, code = 409, "holder_unproven"
    title = ("持证主体未实名", "The holder's identity is not proven")


class HolderFacts(BaseModel):
    """identity-svc's answer about an account."""

    kind: Literal["person", "enterprise"]
    name: str = Field(min_length=1, repr=False)
    id_number: str | None = Field(repr=False)
    """Citizen id number or credit code; None while it is not proven."""

    def as_holder(self, account_id: str) -> licences.Holder:
        """Raises HolderUnproven (409): a licence names nobody whose identity is not proven."""
        if self.id_number is None:
            raise HolderUnproven("持证主体尚未实名。", "The holder's identity is not proven yet.")
        return licences.Holder(account_id, self.kind, self.name, self.id_number)


class CaseFacts(BaseModel):
    """case-svc's answer about what the licence says."""

    fields: dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """What the others said about one order."""

    holder: licences.Holder
    fields: Mapping[str, Any]


async def place(session: AsyncSession, decided: CaseDecided, meta: Meta) -> None:
    """Order the licence of an approved case; a repeated order changes nothing."""
    assert decided.licence_type is not None
    order = insert(LicenceOrder).values(
        id=derived_id("licord", decided.case_id),
        version=1,
        state="due",
        case_id=decided.case_id,
        holder_id=decided.applicant_id,
        item_code=decided.item_code,
        licence_type=decided.licence_type,
        years=decided.licence_years,
        delivery=decided.delivery,
        address_id=decided.address_id,
        region=meta.region,
        dept=meta.dept,
        correlationid=context.request_id.get(),
        traceparent=context.traceparent.get(),
        tries=0,
        next_try_at=now(),
    )
    await session.execute(order.on_conflict_do_nothing())
    wake(session, "issue_due")


async def take_due(session: AsyncSession, *, limit: int) -> list[LicenceOrder]:
    """Up to `limit` orders whose time has come, leased to this process."""
    rows = list(
        await session.scalars(
            select(LicenceOrder)
            .where(LicenceOrder.state == "due", LicenceOrder.next_try_at <= now())
            .order_by(LicenceOrder.next_try_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )
    for row in rows:
        row.tries += 1
        row.next_try_at = now() + LEASE
    return rows


async def fulfil(
    session: AsyncSession, vault: Vault, signer: Signer, order_id: str, answers: Answers
) -> Licence | None:
    """Issue the licence of an order, once; None when another process was quicker.
    Raises UnknownType, UnknownIssuer (409)."""
    order = await session.get_one(LicenceOrder, order_id, with_for_update=True)
    if order.state != "due":
        return None
    licence = await licences.issue(
        session,
        vault,
        signer,
        answers.holder,
        licences.Grant(
            licence_id=derived_id("lic", order.case_id),
            licence_type=order.licence_type,
            region=order.region,
            dept=order.dept,
            valid_from=licences.today(),
            years=order.years,
            fields=answers.fields,
            case_id=order.case_id,
            item_code=order.item_code,
            delivery=cast(Delivery, order.delivery),
            address_id=order.address_id,
        ),
    )
    order.licence_id, order.trouble = licence.id, None
    move(session, order, ORDER, "issue")
    return licence


async def put_off(session: AsyncSession, order_id: str, trouble: str) -> None:
    """Try again later, each time a little later; `trouble` is a code without personal data."""
    order = await session.get_one(LicenceOrder, order_id, with_for_update=True)
    if order.state == "due":
        order.trouble = trouble
        wait = FIRST_WAIT * 2 ** min(order.tries, 10)
        order.next_try_at = now() + min(wait, LONGEST_WAIT)


async def list_open(session: AsyncSession, *, limit: int) -> list[LicenceOrder]:
    """Orders that still wait, the oldest first."""
    waiting = select(LicenceOrder).where(LicenceOrder.state == "due")
    return list(await session.scalars(waiting.order_by(LicenceOrder.created_at).limit(limit)))


async def retry(session: AsyncSession, order_id: str) -> LicenceOrder:
    """Try an order at once. Raises NotFound."""
    order = await session.get(LicenceOrder, order_id, with_for_update=True)
    if order is None:
        raise NotFound("没有这个制证任务。", "There is no such licence order.")
    if order.state == "due":
        order.next_try_at = now()
        wake(session, "issue_due")
    return order
