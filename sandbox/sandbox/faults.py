"""Planned trouble: what the next calls to a channel shall suffer. Kept in the book."""

import asyncio
import time
from typing import Literal

from fastapi import Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from .book import Book

Moment = Literal["before", "after"]


class Fault(BaseModel):
    """The next `times` calls named `call` (or `any`) fail `before` or `after` they took effect.

    `timeout` keeps the caller waiting; `500`, `429` answer at once (429 only `before`).
    """

    call: str = "any"
    kind: Literal["500", "429", "timeout"] = "500"
    moment: Moment = "before"
    times: int = Field(default=1, ge=1, le=10_000)


def plan(book: Book, channel: str, fault: Fault) -> None:
    """Remember a fault for the next calls."""
    with book.act() as db:
        db.execute(
            "INSERT INTO faults (channel, call, kind, moment, remaining) VALUES (?,?,?,?,?)",
            (channel, fault.call, fault.kind, fault.moment, fault.times),
        )


def clear(book: Book, channel: str) -> None:
    """Forget all planned faults of a channel."""
    with book.act() as db:
        db.execute("DELETE FROM faults WHERE channel = ?", (channel,))


def take(book: Book, channel: str, call: str) -> tuple[str, Moment] | None:
    """Use up one planned fault for this call: its kind and moment."""
    found = book.row(
        "SELECT id, kind, moment FROM faults WHERE channel = ? AND call IN (?, 'any')"
        " AND remaining > 0 ORDER BY id LIMIT 1",
        channel,
        call,
    )
    if found is None:
        return None
    with book.act() as db:
        db.execute("UPDATE faults SET remaining = remaining - 1 WHERE id = ?", (found["id"],))
        db.execute("DELETE FROM faults WHERE remaining = 0")
    return found["kind"], found["moment"]


async def hang(request: Request, seconds: float) -> Response:
    """Keep the caller waiting until he gives up or the time is over, then answer 504."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not await request.is_disconnected():  # noqa: ASYNC110
        await asyncio.sleep(min(0.05, seconds))
    return Response(status_code=504)
