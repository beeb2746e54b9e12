"""What licence-svc listens to."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.case import CaseDecided
from contracts.identity import AccountClosed
from kit.inbox import Meta, Subscribers
from kit.secrets import vault_of

from . import holdings, orders

on = Subscribers()


@on(CaseDecided)
async def order_licence(session: AsyncSession, decided: CaseDecided, meta: Meta) -> None:
    """An approved case that ends in a licence gets one."""
    if decided.outcome == "approved" and decided.licence_type is not None:
        await orders.place(session, decided, meta)


@on(AccountClosed)
async def erase_purposes(session: AsyncSession, closed: AccountClosed, meta: Meta) -> None:
    await holdings.erase(session, vault_of(session), closed.account_id)
