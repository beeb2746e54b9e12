"""exchange-svc hears everything: the feed keeps it, the matters follow it."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import Envelope
from kit.inbox import Subscribers

from . import feed, matters

on = Subscribers()


@on.every_many
async def keep_in_feed(session: AsyncSession, envelopes: Sequence[Envelope]) -> None:
    await feed.keep(session, *envelopes)


@on.every_many
async def follow_matters(session: AsyncSession, envelopes: Sequence[Envelope]) -> None:
    for envelope in envelopes:
        await matters.follow(session, envelope)
        await session.flush()
