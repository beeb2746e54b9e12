"""Call-backs from the outside world to us: written into the book first, then delivered until the
receiver accepts them, also after a kill. A channel says how its posts look and when to retry."""

import asyncio
import contextlib
import json
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import httpx
from pydantic import BaseModel, Field

from .book import Book

_log = logging.getLogger("sandbox.posts")


class Plan(BaseModel):
    """What shall happen to the next `times` posts (of `ref`, or of any): `drop` writes them into
    the book and never sends them; `delay_s` waits; `copies` sends so many more of the same;
    `signtest` sends one with a deliberately wrong signature before; `reverse` turns the order
    of the rows inside (SF)."""

    ref: str = ""
    drop: bool = False
    delay_s: float = Field(default=0, ge=0, le=86_400)
    copies: int = Field(default=0, ge=0, le=100)
    signtest: bool = False
    reverse: bool = False
    times: int = Field(default=1, ge=1, le=10_000)


class Sender(Protocol):
    """How one channel delivers its posts."""

    channel: str
    pauses: Sequence[float]  # seconds before try 2, 3, …; after the last one it gives up

    def render(self, post: dict[str, Any]) -> tuple[dict[str, str], bytes]:
        """Headers and body of one try."""
        ...

    def accepted(self, answer: httpx.Response) -> bool:
        """Whether the receiver has taken it."""
        ...


@dataclass(frozen=True, slots=True)
class Chore:
    """Work that falls due: the earliest time there is any, and the act that does it."""

    next_at: Callable[[], float | None]
    run: Callable[[float], None]


def plan(book: Book, channel: str, what: Plan) -> None:
    """Remember what shall happen to the next posts."""
    with book.act() as db:
        db.execute(
            "INSERT INTO plans (channel, ref, args, remaining) VALUES (?,?,?,?)",
            (channel, what.ref, what.model_dump_json(), what.times),
        )


def clear(book: Book, channel: str) -> None:
    """Forget all plans of a channel."""
    with book.act() as db:
        db.execute("DELETE FROM plans WHERE channel = ?", (channel,))


def enqueue(
    db: sqlite3.Connection, channel: str, ref: str, url: str, content: dict[str, Any]
) -> None:
    """Write a post into the book, in the transaction of the act that it tells of."""
    what, now = _take_plan(db, channel, ref), time.time()
    if what.reverse and isinstance(content.get("rows"), list):
        content = {**content, "rows": content["rows"][::-1]}
    due = now + what.delay_s
    post_id = str(uuid.uuid4())
    tests = [f"{post_id}-signtest"] if what.signtest else []
    twins = [f"{post_id}-copy{n}" for n in range(what.copies)]
    for name in [*tests, post_id, *twins]:
        db.execute(
            "INSERT INTO posts VALUES (?,?,?,?,?,?,?,?,0,'',?)",
            (
                name,
                channel,
                ref,
                url,
                json.dumps(content, ensure_ascii=False),
                int(name in tests),
                "dropped" if what.drop else "waiting",
                due,
                now,
            ),
        )


def resend(book: Book, channel: str, ref: str) -> int:
    """Send all posts of `ref` again now, also those delivered or dropped. How many."""
    with book.act() as db:
        changed = db.execute(
            "UPDATE posts SET state = 'waiting', tries = 0, due_at = ? WHERE channel = ?"
            " AND ref = ? AND signtest = 0",
            (time.time(), channel, ref),
        )
        return changed.rowcount


def _take_plan(db: sqlite3.Connection, channel: str, ref: str) -> Plan:
    found = db.execute(
        "SELECT id, args FROM plans WHERE channel = ? AND ref IN ('', ?) ORDER BY id LIMIT 1",
        (channel, ref),
    ).fetchone()
    if found is None:
        return Plan()
    db.execute("UPDATE plans SET remaining = remaining - 1 WHERE id = ?", (found["id"],))
    db.execute("DELETE FROM plans WHERE remaining = 0")
    return Plan.model_validate_json(found["args"])


class Courier:
    """The one background task: delivers posts and does chores when they fall due."""

    def __init__(
        self, book: Book, senders: Sequence[Sender], chores: Sequence[Chore], retry_factor: float
    ) -> None:
        self._book = book
        self._senders = {sender.channel: sender for sender in senders}
        self._chores = chores
        self._factor = retry_factor
        self._wake = asyncio.Event()
        self._busy: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Look at the book again: something may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            try:
                while True:
                    self._wake.clear()
                    self._start_due(client)
                    # Not wait_for: before Python 3.12 it may lose a cancellation.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._pause()):
                            await self._wake.wait()
            finally:
                for task in self._busy.values():
                    task.cancel()
                await asyncio.gather(*self._busy.values(), return_exceptions=True)

    def _start_due(self, client: httpx.AsyncClient) -> None:
        now = time.time()
        for chore in self._chores:
            due = chore.next_at()
            if due is not None and due <= now:
                chore.run(now)
        waiting = self._book.rows(
            "SELECT * FROM posts WHERE state = 'waiting' AND due_at <= ? ORDER BY due_at, rowid"
            " LIMIT 200",
            now,
        )
        for post in waiting:
            if post["id"] not in self._busy and len(self._busy) < 50:
                task = asyncio.create_task(self._deliver(client, post))
                self._busy[post["id"]] = task
                task.add_done_callback(partial(self._finished, post["id"]))

    def _finished(self, post_id: str, task: asyncio.Task[None]) -> None:
        del self._busy[post_id]
        if not task.cancelled() and task.exception() is not None:
            _log.error("delivering a call-back failed", exc_info=task.exception())
        self.wake()

    def _pause(self) -> float:
        """Seconds until something falls due, at most five."""
        now = time.time()
        due = [chore.next_at() for chore in self._chores]
        names = list(self._busy)
        marks = ",".join("?" * len(names))
        # nosemgrep: sql-made-of-strings -- question marks only
        found = self._book.row(
            f"SELECT min(due_at) AS due FROM posts WHERE state = 'waiting' AND id NOT IN ({marks})",
            *names,
        )
        due.append(found["due"] if found else None)
        soonest = min((moment for moment in due if moment is not None), default=now + 5)
        # A full house of deliveries must not turn this into a busy loop.
        return max(0.01, min(5.0, soonest - now))

    async def _deliver(self, client: httpx.AsyncClient, post: dict[str, Any]) -> None:
        sender = self._senders[post["channel"]]
        headers, body = sender.render(post)
        try:
            answer = await client.post(post["url"], content=body, headers=headers)
            said, done = str(answer.status_code), sender.accepted(answer)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said, done = type(error).__name__, False
        tries = post["tries"] + 1
        state, due = "done", post["due_at"]
        if not done:
            # A signature test expects to be refused and is never repeated.
            over = bool(post["signtest"]) or tries > len(sender.pauses)
            state = "given_up" if over else "waiting"
            if not over:
                due = time.time() + sender.pauses[tries - 1] * self._factor
        with self._book.act() as db:
            db.execute(
                "UPDATE posts SET state = ?, due_at = ?, tries = ?, last_answer = ?"
                " WHERE id = ? AND state = 'waiting'",
                (state, due, tries, said, post["id"]),
            )
        if not done:
            _log.info("%s call-back not accepted: %s, try %d", sender.channel, said, tries)
