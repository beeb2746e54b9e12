"""What a request may carry: a body within its limit, and texts that can be stored.

PostgreSQL keeps no NUL in a text, and UTF-8 no lone surrogate; JSON can say both. They are refused
at the door of every service, with a pointer to the place, instead of somewhere in the middle.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import Invalid, UnsupportedMediaType, pointer

_ESCAPED = re.compile(rb"\\u(0000|[dD][89a-fA-F])")
_UNFIT = re.compile("[\x00\ud800-\udfff]")


class BodyLimit:
    """Refuses a body over `limit` bytes with 413: at once when its length is told, otherwise when
    it gets there."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = next((v for k, v in scope["headers"] if k == b"content-length"), b"")
        over = told.isdigit() and (len(told) > 15 or int(told) > self._limit)
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            if over:
                raise HTTPException(413)
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise HTTPException(413)
            return message

        await self._app(scope, limited, send)


class HeadLikeGet:
    """Answers HEAD as GET without the body (RFC 9110, 9.1: every server supports both)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def bare(message: Message) -> None:
            if message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        asked = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, bare)
        finally:
            # For who writes down which route it was.
            scope["route"] = asked.get("route")


def _unfit_places(value: Any) -> Iterator[str]:
    """Pointers to the texts in a JSON value that cannot be stored; names count as texts."""
    waiting: list[tuple[tuple[Any, ...], Any]] = [(("body",), value)]
    while waiting:
        place, found = waiting.pop()
        if isinstance(found, str):
            if _UNFIT.search(found):
                yield pointer(place)
        elif isinstance(found, dict):
            for name, inner in found.items():
                if _UNFIT.search(name):
                    yield pointer(place)
                waiting.append(((*place, name), inner))
        elif isinstance(found, list):
            waiting += [((*place, n), inner) for n, inner in enumerate(found)]


async def check_texts(request: Request) -> None:
    """Raises Invalid (422), pointing to every text of path, query and JSON body that holds a NUL
    or half a character."""
    places = [
        pointer(("path", name))
        for name, value in request.path_params.items()
        if isinstance(value, str) and _UNFIT.search(value)
    ]
    if b"%00" in request.scope["query_string"]:
        pairs = request.query_params.multi_items()
        places += [pointer(("query", name)) for name, value in pairs if _UNFIT.search(name + value)]
    if "json" in request.headers.get("content-type", ""):
        body = await request.body()
        if _ESCAPED.search(body):
            try:
                places += _unfit_places(json.loads(body))
            except (ValueError, RecursionError):
                return  # not JSON: said so where it is read
    if places:
        raise Invalid(
            "有内容含有无法保存的字符(空字符或半个字符),请删除。",
            "Some text holds a character that cannot be stored (NUL or half a character).",
            errors=[
                {
                    "pointer": place,
                    "code": "unstorable_character",
                    "message": "含有无法保存的字符,请删除。",
                    "message_en": "It holds a character that cannot be stored; remove it.",
                }
                for place in dict.fromkeys(places)
            ],
        )


async def check_json(request: Request) -> None:
    """Raises UnsupportedMediaType (415) when a body comes under another name than JSON's: curl
    says of what follows `-d` that it were a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    if not is_json and await request.body():
        raise UnsupportedMediaType(
            "此地址只接受 JSON。请带上 Content-Type: application/json 再提交。",
            "This address takes JSON alone. Send it with Content-Type: application/json.",
            headers={"accept": "application/json"},
        )
