"""What everyone may read: items and their search, versions, packages, districts, calendars."""

import hashlib
import json
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from kit import routing
from kit.auth import Public
from kit.clock import DayKind, WorkCalendar
from kit.lookups import Lookups
from kit.pages import BadCursor, Cursor, Limit, Page, clamp
from kit.routing import NOT_MODIFIED, Session

from .. import items, schemas, searches

router: APIRouter = routing.router(prefix="/v1", tags=["catalog"])

ItemCode = Annotated[str, Path(pattern=r"^[A-Z0-9][A-Z0-9-]{0,31}$")]
Number = Annotated[int, Path(ge=1, le=1_000_000)]


def _cached(request: Request, tag: str) -> tuple[dict[str, str], bool]:
    """The caching headers of a public answer, and whether the client has it already."""
    seconds = request.app.state.runtime.settings.public_seconds
    headers = {"etag": tag, "cache-control": f"public, max-age={seconds}"}
    seen = request.headers.get("if-none-match", "")
    known = {part.strip().removeprefix("W/") for part in seen.split(",")}
    return headers, tag in known or "*" in known


def _answer(request: Request, body: BaseModel | dict[str, Any], tag: str | None = None) -> Response:
    """A public answer with its ETag (of its bytes when nothing better is known), or a 304."""
    if isinstance(body, BaseModel):
        content = body.model_dump_json().encode()
    else:
        content = json.dumps(body, ensure_ascii=False, default=_iso).encode()
    tag = tag or f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    headers, known = _cached(request, tag)
    if known:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


def _iso(moment: Any) -> str:
    return str(moment.isoformat().replace("+00:00", "Z"))


@router.get("/items", response_model=Page[schemas.ItemBrief], responses=NOT_MODIFIED)
async def list_items(
    request: Request,
    session: Session,
    _: Public,
    q: Annotated[str | None, Query(max_length=100, description="everyday words")] = None,
    dept: Annotated[str | None, Query(pattern=r"^[A-Z0-9-]{1,32}$")] = None,
    kind: Annotated[Literal["person", "enterprise"] | None, Query()] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Response:
    """Find items by everyday words, best first; without words all items by code."""
    runtime = request.app.state.runtime
    size = clamp(limit)
    filters = {"q": q, "dept": dept, "kind": kind}
    after = runtime.cursors.read(cursor, filters)
    # what a cursor of ours holds is known; anything else was signed for another kind of list
    shape = [str] if q is None else [int, str]
    if after is not None and [type(part) for part in after] != shape:
        raise BadCursor("翻页标记与查询不符。请从第一页重新查询。", "Start from the first page.")
    if q is None:
        rows = await searches.listed(
            session, dept=dept, kind=kind, after=after[0] if after else None, limit=size + 1
        )
    else:
        rows = await searches.find(session, q, dept=dept, kind=kind, after=after, limit=size + 1)
        if not rows and after is None and dept is None and kind is None:
            runtime.parts["misses"].note(q)
    link = None
    if len(rows) > size:
        last = rows[size - 1]
        position = [last.code] if q is None else [last.rank, last.code]
        kept = {k: v for k, v in filters.items() if v is not None}
        link = "/v1/items?" + urlencode(
            {**kept, "limit": size, "cursor": runtime.cursors.write(position, filters)}
        )
    request.state.next = link
    return _answer(request, {"items": [row.brief for row in rows[:size]], "next": link})


@router.get("/items/{code}", response_model=schemas.ItemDetail, responses=NOT_MODIFIED)
async def read_item(request: Request, lookups: Lookups, _: Public, code: ItemCode) -> Response:
    """The version of an item that is in force (its state says when it is suspended)."""
    item = await items.current(lookups, code)
    return _answer(request, item.detail(), routing.etag(item.item_version))


@router.get("/items/{code}/versions", response_model=schemas.Versions, responses=NOT_MODIFIED)
async def list_item_versions(
    request: Request, session: Session, _: Public, code: ItemCode
) -> Response:
    """Every version of an item that is or was in force, newest first."""
    rows = await items.history(session, code)
    found = [schemas.VersionBrief.model_validate(row, from_attributes=True) for row in rows]
    return _answer(request, schemas.Versions(items=found))


@router.get(
    "/items/{code}/versions/{number}", response_model=schemas.ItemDetail, responses=NOT_MODIFIED
)
async def read_item_version(
    request: Request, session: Session, _: Public, code: ItemCode, number: Number
) -> Response:
    """One version that is or was in force, as it was published."""
    item = await items.numbered(session, code, number)
    return _answer(request, item.detail())


@router.get("/packages", response_model=schemas.Packages, responses=NOT_MODIFIED)
async def list_packages(request: Request, session: Session, _: Public) -> Response:
    """The one-thing services (一件事): several items for one event of life or business."""
    rows = [schemas.PackageOut.model_validate(row) for row in await items.packages(session)]
    return _answer(request, schemas.Packages(items=rows))


@router.get("/regions", response_model=schemas.Regions, responses=NOT_MODIFIED)
async def list_regions(request: Request, session: Session, _: Public) -> Response:
    """The districts of the city with their codes of GB/T 2260."""
    rows = [schemas.RegionOut.model_validate(row) for row in await items.regions(session)]
    return _answer(request, schemas.Regions(items=rows))


@router.get("/calendars/{year}", response_model=schemas.CalendarOut, responses=NOT_MODIFIED)
async def read_calendar(
    request: Request, _: Public, year: Annotated[int, Path(ge=2004, le=2050)]
) -> Response:
    """The working days of a year: its holidays and the weekend days that are worked for them."""
    calendar = WorkCalendar.load()
    days = calendar.days_of(year)
    special = (DayKind.HOLIDAY, DayKind.MAKEUP)
    body = schemas.CalendarOut(
        year=year,
        status=calendar.status(year),
        working_days=sum(note.works for note in days),
        special_days=[
            schemas.SpecialDay(day=note.day, kind=note.kind, name=note.name)
            for note in days
            if note.kind in special
        ],
    )
    return _answer(request, body)
