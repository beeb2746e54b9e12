"""What helpdesk-svc listens to."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.case import CaseClosed
from contracts.identity import AccountClosed
from kit.clock import WorkCalendar
from kit.inbox import Meta, Subscribers

from . import holdings, policies, ratings

on = Subscribers()


@on(CaseClosed)
async def invite_rating(session: AsyncSession, closed: CaseClosed, meta: Meta) -> None:
    """A case that was decided can be rated; one that was withdrawn was not handled."""
    if closed.outcome == "withdrawn":
        return
    days = await policies.rating_days(session, meta.region)
    await ratings.invite(session, WorkCalendar.load(), closed, meta, days=days)


@on(AccountClosed)
async def erase_comments(session: AsyncSession, closed: AccountClosed, meta: Meta) -> None:
    await holdings.erase(session, closed.account_id)
