"""Asking the services on behalf of a caller, for the gateway's own addresses.

The caller's token goes along. One that is bound to a key came with a proof for the gateway's
address alone, which the gateway has checked: the services then get the gateway's own token and the
caller's in `X-Beam-Caller`, as they do among themselves (see `kit.calls`).
"""

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from fastapi import Request
from pydantic import BaseModel, ValidationError

from kit import context
from kit.auth import Caller
from kit.calls import OwnToken
from kit.errors import Unauthenticated, Unavailable

from .pools import Breaker

log = logging.getLogger(__name__)
Item = TypeVar("Item", bound=BaseModel)

SECONDS = 1.5
"""The longest that a pillar is waited for."""
KEPT_SECONDS = 60.0
_PUBLIC = re.compile(r"(?:^|[\s,])public(?:$|[\s,])")


def ids() -> dict[str, str]:
    """What ties a request to a service to the one that caused it."""
    return {
        "x-request-id": context.request_id.get() or "",
        "traceparent": context.traceparent.get() or context.child_of(None),
    }


async def headers_for(caller: Caller, own: OwnToken, client: httpx.AsyncClient) -> dict[str, str]:
    """What a request to a service carries for this caller. Raises Unavailable when the caller's
    token is bound and the gateway gets no token of its own."""
    headers = ids()
    if caller.jkt is None:
        return headers | {"authorization": f"Bearer {caller.token}"}
    try:
        token = await own.get(client)
    except (httpx.HTTPError, KeyError, ValueError):
        raise Unavailable(
            "统一身份服务暂时无法核验此凭证。请稍后重试。",
            "Identity cannot vouch for this token right now. Try again shortly.",
            service="identity",
        ) from None
    return headers | {"authorization": f"Bearer {token}", "x-beam-caller": caller.token}


async def ask(
    request: Request,
    service: str,
    path: str,
    headers: dict[str, str],
    *,
    method: str = "GET",
    seconds: float = SECONDS,
) -> httpx.Response | None:
    """What a service answers within `seconds`; None when it does not, which its breaker hears of
    and answers for a while in its stead."""
    probe = request.state.probe
    breaker: Breaker = request.state.beam.pools[service].breaker
    now = asyncio.get_running_loop().time
    if not breaker.lets_through(now()):
        return None
    try:
        async with asyncio.timeout(seconds):
            answer: httpx.Response = await probe.client.request(
                method, probe.settings.url_of(service) + path, headers=headers, timeout=seconds
            )
    except (TimeoutError, httpx.HTTPError):
        breaker.failed(now())
        return None
    breaker.failures = 0
    return answer


@dataclass(frozen=True)
class _Kept:
    items: list[Any]
    until: float
    generation: int


class Shelf:
    """Public answers of the catalogue as models: kept for a minute at most, while the gateway
    hears the catalogue's events, and until the next of them."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def find(self, path: str, generation: int) -> list[Any] | None:
        kept = self._kept.get(path)
        now = asyncio.get_running_loop().time()
        if kept is None or kept.until < now or kept.generation != generation:
            return None
        return kept.items

    def keep(self, path: str, items: list[Any], generation: int) -> None:
        """`path` is one of the few that the home page asks for: nothing of a caller is in it."""
        until = asyncio.get_running_loop().time() + KEPT_SECONDS
        self._kept[path] = _Kept(items, until, generation)


class Pillars:
    """Asks the services for one caller; remembers who could not answer."""

    def __init__(self, request: Request, headers: dict[str, str]) -> None:
        self._request, self._beam = request, request.state.beam
        self._headers = headers
        self.away: set[str] = set()

    async def own(self, service: str, path: str, kind: type[Item]) -> list[Item] | None:
        """The items of a page that the caller sees; None when there was no proper answer. Raises
        Unauthenticated when the service does not take the token."""
        answer = await ask(self._request, service, path, self._headers)
        if answer is not None and answer.status_code == 401:
            if "x-beam-caller" in self._headers:
                self._beam.own_token.forget()
            raise Unauthenticated(
                "登录凭证未被接受。请重新登录或提升实名等级后重试。",
                "The access token was not accepted. Sign in again, or at a higher level.",
                headers={"www-authenticate": answer.headers.get("www-authenticate", "Bearer")},
            )
        return self._items(service, answer, kind)

    async def public(self, service: str, path: str, kind: type[Item]) -> list[Item] | None:
        """The same of a page that is everybody's: asked for without the caller's token, and kept
        if the service allows it."""
        cache = self._beam.cache
        generation = cache.generation
        if cache.listening:
            kept: list[Item] | None = self._beam.shelf.find(path, generation)
            if kept is not None:
                return kept
        headers = {k: v for k, v in self._headers.items() if k in ("x-request-id", "traceparent")}
        answer = await ask(self._request, service, path, headers)
        items = self._items(service, answer, kind)
        allowed = answer is not None and _PUBLIC.search(answer.headers.get("cache-control", ""))
        if items is not None and allowed and cache.listening:
            self._beam.shelf.keep(path, items, generation)
        return items

    def _items(
        self, service: str, answer: httpx.Response | None, kind: type[Item]
    ) -> list[Item] | None:
        if answer is not None and answer.status_code == 200:
            try:
                body: dict[str, Any] = answer.json()
                return [kind.model_validate(item) for item in body["items"]]
            except (ValidationError, ValueError, KeyError, TypeError):
                log.warning("the answer of %s for the home page is not what it used to be", service)
        self.away.add(service)
        return None
