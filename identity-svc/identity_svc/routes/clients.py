"""Applications of others, registered by operators."""

from kit import routing
from kit.auth import Operator
from kit.pages import Cursor, Limit, Page, Pager
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
    pager = Pager(at.request, limit, cursor, {})
    rows = await clients.registered(session, after=pager.after, limit=pager.size)
    return pager.page(rows, ClientView.model_validate, lambda row: [row.client_id], "/v1/clients")


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
