"""Finding items by everyday words.

A query is cut into words and pairs of characters; synonyms add the official words that it stands
for. Every token that an item has adds its rarity (idf) times its boost; an everyday term that the
query holds whole adds its length; short names come first. One statement ranks and pages.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from . import words
from .models import Item, ItemVersion, SearchEntry

WORD, PAIR, MEANT_WORD, MEANT_PAIR = 1.0, 0.75, 0.8, 0.15
"""Boosts, tuned on 30 everyday queries over the names of 1,135 real items of a district."""

_SYNONYMS = text(
    "select means from synonym where position(term in :asked) > 0"
    " or (length(term) > 2 and cardinality(term_words) > 0"
    " and term_words <@ cast(:words as varchar[]))"
)

_RANKED = text(
    """
with asked as (
    select token, kind, boost
    from unnest(cast(:tokens as text[]), cast(:kinds as text[]), cast(:boosts as float8[]))
        as a(token, kind, boost)
), hits as (
    select e.code, a.token, a.kind, a.boost
    from asked a join search_entry e on e.words @@ cast(a.token as tsquery) where a.kind = 'w'
    union all
    select e.code, a.token, a.kind, a.boost
    from asked a join search_entry e on e.grams @@ cast(a.token as tsquery) where a.kind = 'g'
), rarity as (
    select token, kind, ln(1 + (select count(*) from search_entry)::float8 / count(*)) as idf
    from hits group by token, kind
), sums as (
    select h.code, sum(h.boost * r.idf) as points
    from hits h join rarity r using (token, kind) group by h.code
), ranked as (
    select e.code, e.brief, cast(round((
        s.points + 2 * (
            select coalesce(sum(length(t)), 0) from unnest(e.terms) t
            where position(t in :asked) > 0
        )) / sqrt(e.size + 10) * 1000000) as bigint) as rank
    from sums s join search_entry e using (code)
    where (cast(:dept as text) is null or e.dept = :dept)
        and (cast(:kind as text) is null or :kind = any(e.kinds))
), best as (select code, brief, rank, max(rank) over () as top from ranked)
select code, brief, rank from best
where rank * 5 >= top
    and (cast(:rank as bigint) is null or rank < :rank or (rank = :rank and code > :code))
order by rank desc, code
limit :limit
"""
)


async def index(session: AsyncSession, item: Item, version: ItemVersion, dept_name: str) -> None:
    """Let search and lists show this version of the item."""
    content = version.content
    name = words.normalised(content["name"])
    terms = [term for t in content["everyday_terms"] if (term := words.normalised(t))]
    texts = [name, *terms]
    kinds = content["applicant_kinds"]
    row = {
        "code": item.code,
        "dept": item.dept,
        "kinds": kinds,
        "brief": {
            "code": item.code,
            "version": version.number,
            "name": content["name"],
            "dept": item.dept,
            "dept_name": dept_name,
            "applicant_kinds": kinds,
            "everyday_terms": content["everyday_terms"],
            "promise_days": content["promise_days"],
            "promise_unit": content["promise_unit"],
            "visits": content["visits"],
            "online_depth": content["online_depth"],
            "fee_fen": (content["fee"] or {}).get("amount_fen", 0),
        },
        "size": len(words.grams(name)),
        "terms": terms,
        "words": vector(w for t in texts for w in words.words(t)),
        "grams": vector(g for t in texts for g in words.grams(t)),
    }
    write = insert(SearchEntry).values(row)
    changed = {key: write.excluded[key] for key in row if key != "code"}
    await session.execute(write.on_conflict_do_update(index_elements=["code"], set_=changed))


def vector(tokens: Iterable[str]) -> Any:
    """The SQL of a tsvector that holds exactly these tokens."""
    return func.array_to_tsvector(bindparam(None, sorted(set(tokens)), type_=ARRAY(Text)))


async def forget(session: AsyncSession, code: str) -> None:
    """Take the item out of search and lists."""
    await session.execute(delete(SearchEntry).where(SearchEntry.code == code))


async def find(
    session: AsyncSession,
    query: str,
    *,
    dept: str | None,
    kind: str | None,
    after: Sequence[Any] | None,
    limit: int,
) -> Sequence[Any]:
    """Rows of (code, brief, rank), best first, after the position (rank, code). What is less than
    a fifth as good as the best is left out."""
    asked = words.asked(query)
    tokens = await _tokens(session, asked)
    if not tokens:
        return []
    rank, code = after or (None, None)
    found = await session.execute(
        _RANKED,
        {
            "tokens": [f"'{token}'" for token, _ in tokens],
            "kinds": [kind_ for _, kind_ in tokens],
            "boosts": list(tokens.values()),
            "asked": asked,
            "dept": dept,
            "kind": kind,
            "rank": rank,
            "code": code,
            "limit": limit,
        },
    )
    return found.all()


async def _tokens(session: AsyncSession, asked: str) -> dict[tuple[str, str], float]:
    """Each token with its kind (w: word, g: pair) and its boost."""
    own = words.words(asked)
    tokens = {(w, "w"): WORD for w in own} | {(g, "g"): PAIR for g in words.grams(asked)}
    if tokens:
        means = await session.scalars(_SYNONYMS, {"asked": asked, "words": own})
        for phrase in {phrase for row in means for phrase in row}:
            for w in words.words(phrase):
                tokens.setdefault((w, "w"), MEANT_WORD)
            for g in words.grams(phrase):
                tokens.setdefault((g, "g"), MEANT_PAIR)
    return tokens


async def listed(
    session: AsyncSession, *, dept: str | None, kind: str | None, after: str | None, limit: int
) -> Sequence[Any]:
    """Rows of (code, brief) in order of code, after the given one."""
    query = select(SearchEntry.code, SearchEntry.brief).order_by(SearchEntry.code).limit(limit)
    if dept is not None:
        query = query.where(SearchEntry.dept == dept)
    if kind is not None:
        query = query.where(SearchEntry.kinds.any_() == kind)
    if after is not None:
        query = query.where(SearchEntry.code > after)
    return (await session.execute(query)).all()
