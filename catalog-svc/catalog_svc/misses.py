"""Queries that found nothing, counted without telling who asked."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit.db import Sessions
from kit.secrets import Vault

from . import words
from .models import SearchMiss


class Misses:
    """Counts queries that find nothing. They wait in memory for the next `keep`; a crash loses
    that little. A text enters the database only when it was missed `enough` times, and never
    with a long number in it: what one person types stays unknown."""

    MOST = 5_000

    def __init__(self, vault: Vault, enough: int) -> None:
        self._vault, self._enough = vault, enough
        self._waiting: Counter[str] = Counter()

    def note(self, query: str) -> None:
        asked = words.asked(query)
        if asked and (asked in self._waiting or len(self._waiting) < self.MOST):
            self._waiting[asked] += 1

    async def keep(self, sessions: Sessions) -> None:
        """Add what waits to the counts in the database."""
        waiting, self._waiting = self._waiting, Counter()
        if not waiting:
            return
        try:
            async with sessions.begin() as session:
                for asked, times in sorted(waiting.items()):
                    await self._count(session, asked, times)
        except BaseException:
            self._waiting.update(waiting)
            raise

    async def _count(self, session: AsyncSession, asked: str, times: int) -> None:
        digest = self._vault.index(f"search miss|{asked}")
        first = insert(SearchMiss).values(digest=digest, count=times)
        counted = await session.scalar(
            first.on_conflict_do_update(
                index_elements=["digest"],
                set_={"count": SearchMiss.count + times, "last_at": func.now()},
            ).returning(SearchMiss.count)
        )
        if (counted or 0) >= self._enough and sum(c.isdigit() for c in asked) < 5:
            miss = await session.get_one(SearchMiss, digest)
            miss.text = asked


async def told(session: AsyncSession, limit: int) -> Sequence[SearchMiss]:
    """The misses whose text is kept, the most frequent first."""
    query = select(SearchMiss).where(SearchMiss.text.is_not(None))
    ordered = query.order_by(SearchMiss.count.desc(), SearchMiss.digest).limit(limit)
    return (await session.scalars(ordered)).all()
