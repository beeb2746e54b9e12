"""The authorization request that waits while a person looks at our pages."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from authlib.oauth2.rfc6749 import OAuth2Error

from .. import levels
from ..models import Client
from ..provider import AUTHORIZE, DEVICE_PAGE, Answer, Asked, Provider
from .oauth import provide
from .web import Web


@dataclass(frozen=True)
class Waiting:
    """Whose request it is, the origin it leads back to, and the level that it asks for."""

    client_id: str
    """Empty for a page of ours, where nobody is told anything."""
    scopes: tuple[str, ...]
    name: str
    name_en: str
    origin: str
    level: str


async def waiting(at: Web, return_to: str) -> Waiting | None:
    """The request behind `return_to`, when it is a good one."""
    path, _, query = return_to.partition("?")
    if path == DEVICE_PAGE and "#" not in return_to:
        return Waiting("", (), "在终端上登录", "signing in at a terminal", "", "L0")
    if path != AUTHORIZE:
        return None
    request = Asked("GET", parse_qsl(query), {})
    found: list[Waiting] = []

    def look(provider: Provider) -> Answer:
        grant = provider.checked(request)
        client: Client = grant.client
        place = urlsplit(grant.redirect_uri)
        origin = f"{place.scheme}://{place.netloc}"
        level = levels.needed(request.fields.get("acr_values", ""))
        scopes = tuple(request.scope.split())
        found.append(Waiting(client.client_id, scopes, client.name, client.name_en, origin, level))
        return Answer(200, {}, {})

    try:
        await provide(at, look)
    except OAuth2Error:
        return None
    return found[0]
