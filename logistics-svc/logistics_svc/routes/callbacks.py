"""What carriers tell us. A push is believed for the secret in its path, and acknowledged only
after what it tells is committed."""

import hmac
import logging

from fastapi import Request, Response

from kit.auth import SignedCallback
from kit.errors import NotFound
from kit.routing import Session
from kit.routing import router as new_router

from .. import shipments
from ..carriers import BadPush, Carrier
from ..jobs import poll_pause

log = logging.getLogger(__name__)
router = new_router(prefix="/callbacks/sf", tags=["callbacks"])


@router.post("/{secret}", response_class=Response)
async def sf_push(session: Session, _: SignedCallback, secret: str, request: Request) -> Response:
    """Routes pushed by SF (RoutePushService)."""
    runtime = request.app.state.runtime
    if not hmac.compare_digest(secret.encode(), runtime.parts["push_token"].encode()):
        raise NotFound("没有这个地址。", "There is no such address here.")
    carrier: Carrier = runtime.parts["carrier"]
    try:
        tracks = carrier.read_push(await request.body())
    except BadPush:
        log.warning("a push could not be read")
        kind, body = carrier.not_accepted()
        return Response(body, media_type=kind)
    strangers = await shipments.follow(
        session, carrier.name, tracks, poll=poll_pause(runtime.settings)
    )
    if strangers:
        log.warning("%d pushed steps are of no shipment of ours", strangers)
    kind, body = carrier.accepted()
    return Response(body, media_type=kind)
