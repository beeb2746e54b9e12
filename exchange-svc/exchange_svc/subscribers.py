"""exchange-svc hears everything: the feed keeps it, the matters follow it."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import Envelope
from kit.inbox import Subscribers

from . import feed, matters

on = Subscribers()


@on.every
async def keep_in_feed(session: AsyncSession, envelope: Envelope) -> None:
    await feed.keep(session, envelope)


@on.every
async def follow_matters(session: AsyncSession, envelope: Envelope) -> None:
    await matters.follow(session, envelope)
