"""What helpdesk-svc holds of an account, and what goes when the account is closed."""

from collections.abc import Sequence

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from kit.holdings import Asked, Part, Record, picked

from . import ratings
from .models import Rating

_COLUMNS = (
    "id", "case_id", "item_code", "item_name", "state", "score", "reasons", "indicators", "due",
    "rated_at", "invited_at",
)  # fmt: skip


async def _ratings(session: AsyncSession, asked: Asked) -> Sequence[Record]:
    rows = await asked.rows(session, Rating, Rating.account_id)
    return [
        {**picked(row, *_COLUMNS), "comment": ratings.comment_of(asked.vault, row)} for row in rows
    ]


PARTS = (Part("ratings", "好差评", "Ratings", _ratings),)


async def erase(session: AsyncSession, account_id: str) -> None:
    """The account was closed: what its owner wrote goes, the scores stay in the figures."""
    mine = update(Rating).where(Rating.account_id == account_id, Rating.comment.is_not(None))
    await session.execute(mine.values(comment=None))
