"""How long a handling can be rated: a local policy, a row for a district or for the whole city."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from .models import RatingPolicy

CITY_WIDE = "_"
DEFAULT_DAYS = 10


async def rating_days(session: AsyncSession, region: str) -> int:
    """Working days after a close in which it can be rated: the district's own, else the city's."""
    rows = await session.execute(
        select(RatingPolicy.region, RatingPolicy.working_days).where(
            RatingPolicy.region.in_([region, CITY_WIDE])
        )
    )
    days: dict[str, int] = {row.region: row.working_days for row in rows}
    return days.get(region, days.get(CITY_WIDE, DEFAULT_DAYS))


async def set_rating_days(
    session: AsyncSession, region: str, working_days: int, *, actor: str
) -> RatingPolicy:
    """Set the policy of a district (six digits) or of the city (`_`); it holds for cases that are
    closed from now on."""
    row = insert(RatingPolicy).values(region=region, working_days=working_days, changed_by=actor)
    changed = {"working_days": row.excluded.working_days, "changed_by": row.excluded.changed_by}
    await session.execute(
        row.on_conflict_do_update(index_elements=[RatingPolicy.region], set_=changed)
    )
    return await session.get_one(RatingPolicy, region, populate_existing=True)


async def every(session: AsyncSession) -> list[RatingPolicy]:
    return list(await session.scalars(select(RatingPolicy).order_by(RatingPolicy.region)))
