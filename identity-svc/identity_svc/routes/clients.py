"""Applications of others, registered by operators."""

from kit import routing
from kit.auth import Operator
from kit.pages import Cursor, Limit, Page, clamp, link
from kit.routing import IfMatch, Session, check_version

from .. import clients
from ..schemas import ClientRegistration, ClientView
from .web import At

router = routing.router(prefix="/v1/clients", tags=["clients"])


@router.post("", status_code=201)
async def register_client(
    session: Session, body: ClientRegistration, caller: Operator
) -> ClientView:
    """Register somebody else's application; people are asked before it learns anything."""
    row = await clients.register(
        session,
        name=body.name,
        name_en=body.name_en,
        redirect_uris=body.redirect_uris,
        scopes=list(body.scopes),
        backchannel_logout_uri=body.backchannel_logout_uri,
        jwks_uri=body.jwks_uri,
        keys=[entry.model_dump() for entry in body.keys],
        by=caller.subject,
    )
    return ClientView.model_validate(row)


@router.get("")
async def list_clients(
    at: At, session: Session, _: Operator, limit: Limit = 20, cursor: Cursor = None
) -> Page[ClientView]:
    """The registered applications, the oldest first."""
    position, limit = at.runtime.cursors.read(cursor, {}), clamp(limit)
    after = position[0] if position else None
    rows = await clients.registered(session, after=after, limit=limit)
    more = None
    if len(rows) > limit:
        written = at.runtime.cursors.write([rows[limit - 1].client_id], {})
        more = link("/v1/clients", written, limit=limit)
    return Page[ClientView](
        items=[ClientView.model_validate(row) for row in rows[:limit]], next=more
    )


@router.post("/{client_id}/switch-off")
async def switch_client_off(
    session: Session, client_id: str, seen: IfMatch, _: Operator
) -> ClientView:
    """Switch an application off: no new tokens, and those that it has are refused."""
    return await _switched(session, client_id, seen, on=False)


@router.post("/{client_id}/switch-on")
async def switch_client_on(
    session: Session, client_id: str, seen: IfMatch, _: Operator
) -> ClientView:
    """Let an application in again."""
    return await _switched(session, client_id, seen, on=True)


async def _switched(session: Session, client_id: str, seen: int | None, *, on: bool) -> ClientView:
    client = await clients.switch(session, client_id, on=on)
    check_version(client.version - 1, seen)
    return ClientView.model_validate(client)
