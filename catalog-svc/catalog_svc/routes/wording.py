"""How operators keep the search up with what people say: synonyms, and what was not found."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from kit import routing
from kit.auth import Operator
from kit.pages import Cursor, Limit, Page, Pager, clamp
from kit.parameters import WORDS
from kit.routing import Session

from .. import misses, schemas, synonyms

router: APIRouter = routing.router(prefix="/v1/items/search", tags=["catalog search"])
Term = Annotated[str, Path(min_length=1, max_length=50, pattern=WORDS)]


@router.get("/synonyms")
async def list_synonyms(
    request: Request, session: Session, _: Operator, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.SynonymOut]:
    """What people say and the official words that it stands for, by term."""
    pager = Pager(request, limit, cursor, {"list": "synonyms"})
    rows = await synonyms.listed(session, after=pager.after, limit=pager.size + 1)
    show = schemas.SynonymOut.model_validate
    return pager.page(rows, show, lambda row: [row.term], "/v1/items/search/synonyms")


@router.put("/synonyms/{term}")
async def put_synonym(
    session: Session, _: Operator, term: Term, body: schemas.Means
) -> schemas.SynonymOut:
    """Let a term stand for official words, from the next search on."""
    return schemas.SynonymOut.model_validate(await synonyms.put(session, term, body.means))


@router.delete("/synonyms/{term}", status_code=204)
async def delete_synonym(session: Session, _: Operator, term: Term) -> None:
    """Forget a synonym."""
    await synonyms.drop(session, term)


@router.get("/misses")
async def list_search_misses(
    session: Session, _: Operator, limit: Limit = 50
) -> schemas.SearchMisses:
    """What many people looked for and did not find, the most frequent first."""
    rows = await misses.told(session, clamp(limit))
    return schemas.SearchMisses(items=[schemas.SearchMissOut.model_validate(r) for r in rows])
