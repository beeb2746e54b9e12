"""What people say, and the official words that it stands for: data that operators edit."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit.errors import Invalid, NotFound

from . import words
from .models import Synonym


def row_of(term: str, means: Sequence[str]) -> dict[str, Any]:
    """The row of a synonym, normalised as queries are."""
    flat = words.normalised(term)
    return {
        "term": flat,
        "term_words": words.words(flat),
        "means": [words.normalised(meaning) for meaning in means],
    }


def adding(rows: Sequence[dict[str, Any]]) -> Any:
    """The statement that adds the rows that are not there yet."""
    return insert(Synonym).values(list(rows)).on_conflict_do_nothing()


async def put(session: AsyncSession, term: str, means: Sequence[str]) -> Synonym:
    """Let `term` stand for `means`. Raises Invalid when the term has no letter to search for."""
    row = row_of(term, means)
    empty = [f"/body/means/{n}" for n, meaning in enumerate(row["means"]) if not meaning]
    if not row["term"]:
        empty.insert(0, "/path/term")
    if empty:
        zh, en = "应包含汉字、字母或数字。", "It needs a letter or a digit."
        raise Invalid(
            "说法和含义都应包含汉字、字母或数字。",
            "A term and its meanings need a letter or a digit.",
            errors=[
                {"pointer": place, "code": "no_letter", "message": zh, "message_en": en}
                for place in empty
            ],
        )
    write = insert(Synonym).values(row)
    put = write.on_conflict_do_update(index_elements=["term"], set_=row).returning(Synonym)
    return (await session.scalars(put)).one()


async def drop(session: AsyncSession, term: str) -> None:
    """Raises NotFound."""
    found = await session.get(Synonym, words.normalised(term))
    if found is None:
        raise NotFound("没有这个说法。", "There is no such term.")
    await session.delete(found)


async def listed(session: AsyncSession, *, after: str | None, limit: int) -> Sequence[Synonym]:
    """Synonyms in order of their term."""
    query = select(Synonym).order_by(Synonym.term).limit(limit)
    if after is not None:
        query = query.where(Synonym.term > after)
    return (await session.scalars(query)).all()
