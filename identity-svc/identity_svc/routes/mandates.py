"""Mandates over HTTP: asking for one, answering, ending it."""

from typing import Annotated, Literal

from fastapi import Depends, Query, Response

from kit import routing
from kit.auth import Caller, Gate
from kit.errors import NotFound
from kit.pages import Cursor, Limit, Page, Pager
from kit.routing import IfMatch, Session, check_version, etag

from .. import mandates
from ..models_agency import Mandate
from ..schemas_agency import MandateAsked, MandateView
from .web import At

router = routing.router(prefix="/v1/mandates", tags=["mandates"])
Party = Annotated[Caller, Depends(Gate(kinds=("person", "enterprise", "staff")))]
State = Annotated[str | None, Query(max_length=20, pattern=r"^[a-z_]+$")]


@router.post("", status_code=201)
async def ask_mandate(
    at: At, session: Session, body: MandateAsked, caller: Party, response: Response
) -> MandateView:
    """Grant a mandate (side `principal`) or ask for one (side `agent`); the other side confirms.
    The answer does not tell whether the person who is named has an account."""
    row = await mandates.ask(
        session,
        at.runtime.vault,
        caller,
        side=body.side,
        other=mandates.Party(**body.other.model_dump()),
        item_codes=body.item_codes,
        valid_from=body.valid_from,
        valid_until=body.valid_until,
        max_uses=body.max_uses,
    )
    response.headers["location"] = f"/v1/mandates/{row.id}"
    return await _view(at, session, caller, row, response)


@router.get("")
async def list_mandates(
    at: At,
    session: Session,
    caller: Party,
    limit: Limit = 20,
    cursor: Cursor = None,
    side: Literal["principal", "agent"] | None = None,
    state: State = None,
) -> Page[MandateView]:
    """The caller's mandates on both sides or on one, the latest first; those that wait for his
    answer are among them."""
    filters = {"list": "mandates", "subject": caller.subject, "side": side, "state": state}
    pager = Pager(at.request, limit, cursor, filters)
    try:
        mine = await mandates.me(session, at.runtime.vault, caller)
    except NotFound:  # a token may live a little longer than its account
        return Page[MandateView](items=[])
    rows = await mandates.listed(
        session,
        mine,
        side=side,
        state=state,
        after=pager.after,
        limit=pager.size,
    )
    more = pager.following(rows, lambda row: [row.id], "/v1/mandates", side=side, state=state)
    shown = await mandates.shown(session, at.runtime.vault, mine, rows[: pager.size])
    return Page[MandateView](items=[MandateView.model_validate(one) for one in shown], next=more)


@router.get("/{mandate_id}")
async def get_mandate(
    at: At, session: Session, mandate_id: str, caller: Party, response: Response
) -> MandateView:
    """One mandate, for its two sides."""
    row, _ = await mandates.find(session, at.runtime.vault, caller, mandate_id)
    return await _view(at, session, caller, row, response)


@router.post("/{mandate_id}/confirm")
async def confirm_mandate(
    at: At, session: Session, mandate_id: str, seen: IfMatch, caller: Party, response: Response
) -> MandateView:
    """The side that did not ask agrees: the agent may act from now on."""
    row = await mandates.answer(session, at.runtime.vault, caller, mandate_id, "confirm")
    check_version(row.version - 1, seen)
    return await _view(at, session, caller, row, response)


@router.post("/{mandate_id}/refuse")
async def refuse_mandate(
    at: At, session: Session, mandate_id: str, seen: IfMatch, caller: Party, response: Response
) -> MandateView:
    """The side that did not ask does not agree."""
    row = await mandates.answer(session, at.runtime.vault, caller, mandate_id, "refuse")
    check_version(row.version - 1, seen)
    return await _view(at, session, caller, row, response)


@router.post("/{mandate_id}/revoke")
async def revoke_mandate(
    at: At, session: Session, mandate_id: str, seen: IfMatch, caller: Party, response: Response
) -> MandateView:
    """Either side ends it; whoever acts under it is refused everywhere within a second or so."""
    row = await mandates.revoke(session, at.runtime.vault, caller, mandate_id)
    check_version(row.version - 1, seen)
    return await _view(at, session, caller, row, response)


async def _view(
    at: At, session: Session, caller: Party, row: Mandate, response: Response
) -> MandateView:
    mine = await mandates.me(session, at.runtime.vault, caller)
    (shown,) = await mandates.shown(session, at.runtime.vault, mine, [row])
    response.headers["etag"] = etag(row.version)
    return MandateView.model_validate(shown)
