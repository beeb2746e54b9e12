"""Keyset pages: `items` and `next`; cursors are signed and bound to the filters they came from."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict

from .errors import Problem

R = TypeVar("R")
T = TypeVar("T")
MAX_LIMIT = 100
Limit = Annotated[int, Query(ge=1, description=f"at most {MAX_LIMIT}; more is cut to it")]
Cursor = Annotated[str | None, Query(max_length=1000, description="from `next`; do not build it")]


class Page(BaseModel, Generic[T]):
    """One page of a list. `next` is a ready link, or null on the last page; there is no total."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    items: list[T]
    next: str | None = None
    """The address of the next page, ready to ask; null on the last one."""


class BadCursor(Problem):
    status, code, title = 400, "bad_cursor", ("翻页标记不可用", "The cursor cannot be used")


class Cursors:
    """Signs and reads cursors. One per service, made with a key that all its processes share."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def _mac(self, payload: bytes, filters: Mapping[str, Any]) -> bytes:
        bound = json.dumps(filters, sort_keys=True, default=str).encode()
        return hmac.digest(self._key, payload + b"|" + bound, hashlib.sha256)[:12]

    def write(self, position: Sequence[Any], filters: Mapping[str, Any]) -> str:
        payload = json.dumps(list(position), default=str).encode()
        return base64.urlsafe_b64encode(self._mac(payload, filters) + payload).decode().rstrip("=")

    def read(self, cursor: str | None, filters: Mapping[str, Any]) -> list[Any] | None:
        """The position after which to go on; None at the start. Raises BadCursor (400)."""
        if cursor is None:
            return None
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            mac, payload = raw[:12], raw[12:]
            if hmac.compare_digest(mac, self._mac(payload, filters)):
                position = json.loads(payload)
                if isinstance(position, list):
                    return position
        except ValueError:
            pass
        raise BadCursor(
            "翻页标记已失效或与查询条件不符。请从第一页重新查询。",
            "The cursor is out of date or of another query. Start from the first page.",
        )


def link(path: str, cursor: str, *, limit: int, **filters: str | None) -> str:
    """The ready `next` link of a list with its filters."""
    query = {"limit": str(limit), **{k: v for k, v in filters.items() if v}, "cursor": cursor}
    return f"{path}?{urlencode(query)}"


def clamp(limit: int) -> int:
    return min(limit, MAX_LIMIT)


class Pager:
    """One request for a page of a list: where it begins, how many rows, the link to the next.

    Ask for one row more than `size`; `page` shows the rows without it. `filters` bind the cursor:
    what the list depends on, the caller included. Raises BadCursor (400)."""

    def __init__(
        self, request: Request, limit: int, cursor: str | None, filters: Mapping[str, Any]
    ) -> None:
        self.size = clamp(limit)
        self._request, self._filters = request, filters
        self._cursors: Cursors = request.app.state.runtime.cursors
        self.position = self._cursors.read(cursor, filters)

    @property
    def after(self) -> Any:
        """The one value of a position that has no more; None at the start."""
        return self.position[0] if self.position else None

    def following(
        self,
        rows: Sequence[R],
        mark: Callable[[R], Sequence[Any]],
        path: str | None = None,
        **query: str | None,
    ) -> str | None:
        """The link behind the last row that is shown, by its `mark`; None on the last page. It
        has this path and query; without a path those of the request."""
        if len(rows) <= self.size:
            return None
        written = self._cursors.write(mark(rows[self.size - 1]), self._filters)
        if path is not None:
            found = link(path, written, limit=self.size, **query)
        else:
            url = self._request.url
            found = f"{url.path}?{url.include_query_params(cursor=written).query}"
        # The route tells it in the head as well (`Link`, RFC 8288).
        self._request.state.next = found
        return found

    def page(
        self,
        rows: Sequence[R],
        show: Callable[[R], T],
        mark: Callable[[R], Sequence[Any]],
        path: str | None = None,
        **query: str | None,
    ) -> Page[T]:
        """The rows of the page, shown, and the link to the next."""
        items = [show(row) for row in rows[: self.size]]
        return Page(items=items, next=self.following(rows, mark, path, **query))
