"""Counting tries: taken before the work, so that parallel guesses count, given back on success."""

from datetime import datetime, timedelta

from sqlalchemy import case, delete, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit.errors import TooMany

from .models import Attempts


async def take(session: AsyncSession, key: str, *, limit: int, now: datetime, minutes: int) -> None:
    """Count one try under `key`. Raises TooMany (429) above `limit` within `minutes`; it says the
    same whatever the key stands for, and whether that exists or not."""
    fresh = Attempts.since < now - timedelta(minutes=minutes)
    row = insert(Attempts).values(key=key, tries=1, since=now)
    counted = row.on_conflict_do_update(
        index_elements=[Attempts.key],
        set_={
            "tries": case((fresh, 1), else_=Attempts.tries + 1),
            "since": case((fresh, now), else_=Attempts.since),
        },
    ).returning(Attempts.tries, Attempts.since)
    tries, since = (await session.execute(counted)).one()
    if tries > limit:
        wait = max(int((since + timedelta(minutes=minutes) - now).total_seconds()), 1)
        raise TooMany(
            f"尝试次数太多。请在 {-(-wait // 60)} 分钟后再试。",
            f"Too many tries. Try again in {-(-wait // 60)} minutes.",
            headers={"retry-after": str(wait)},
        )


async def give_back(session: AsyncSession, *, forget: str, one_of: str) -> None:
    """After a success: forget the tries under one key, take one off the other."""
    await session.execute(delete(Attempts).where(Attempts.key == forget))
    await session.execute(
        update(Attempts)
        .where(Attempts.key == one_of, Attempts.tries > 0)
        .values(tries=Attempts.tries - 1)
    )


async def sweep(session: AsyncSession, *, before: datetime) -> None:
    """Forget what no window counts any more."""
    await session.execute(delete(Attempts).where(Attempts.since < before))
