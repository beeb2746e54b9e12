"""Answers of the catalogue that everyone may see, kept for a moment.

Kept is what the service calls `public` with a `max-age`; an event of the catalogue drops all of it,
and nothing is kept or given out while we do not hear events. What was asked before an event and
answered after it is not kept either.
"""

import asyncio
import logging
import re
from collections import OrderedDict
from dataclasses import dataclass

import nats.errors
from nats.aio.msg import Msg

from kit.broker import Broker, BrokerLost, Nats

from .exchange import Exchange

log = logging.getLogger(__name__)

SUBJECTS = "evt.catalog.>"
MOST_BYTES = 256 * 1024
"""A larger answer is not kept."""
_OVERHEAD = 1024
_MAX_AGE = re.compile(rb"(?:^|[\s,])max-age=([0-9]{1,9})(?:$|[\s,])")
_FORBIDS = re.compile(rb"(?:^|[\s,])(?:no-store|no-cache|private)(?:$|[\s,=])")
_PUBLIC = re.compile(rb"(?:^|[\s,])public(?:$|[\s,])")
_VARIES = frozenset({b"accept-language", b"origin"})
"""What an answer may depend on: the key holds the one, we write the other ourselves."""


@dataclass
class Kept:
    """An answer: header lines without framing, body, and how long it may be given out."""

    lines: bytes
    body: bytes
    etag: bytes | None
    stored: float
    until: float

    def size(self, key: bytes) -> int:
        return len(self.lines) + len(self.body) + len(key) + _OVERHEAD


class Cache:
    """At most `limit` bytes, the longest unused goes first; 0 switches it off."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.listening = False
        self.generation = 0
        """Counts what makes old answers worthless: an answer is kept in the one it was asked in."""
        self.hits = self.misses = self.bytes = 0
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def drop(self) -> None:
        self.generation += 1
        self._kept.clear()
        self.bytes = 0

    def find(self, x: Exchange, now: float) -> Kept | None:
        """A kept answer to this request. If there is none and its answer may be kept, the
        exchange learns under which key."""
        if not self.listening or x.method != b"GET" or x.picky or not x.complete or x.body_bytes:
            return None
        key = b"%b\n%b" % (x.target, x.accept_language)
        kept = self._kept.get(key)
        if kept is not None and kept.until > now:
            self._kept.move_to_end(key)
            self.hits += 1
            return kept
        self.misses += 1
        if x.if_none_match is None:
            x.cache_key, x.cache_generation = key, self.generation
        return None

    def keep(self, x: Exchange, head: list[bytes], body: bytes, now: float) -> None:
        """Keep a whole answer 200 if its head allows it. `head`: name, colon, value, end of line,
        and so on."""
        key = x.cache_key
        if key is None or x.cache_generation != self.generation or not self.listening:
            return
        fields: dict[bytes, bytes] = {}
        for i in range(0, len(head), 4):
            name = head[i]
            fields[name] = fields[name] + b"," + head[i + 2] if name in fields else head[i + 2]
        control = fields.get(b"cache-control", b"").lower()
        age = _MAX_AGE.search(control)
        vary = {part.strip().lower() for part in fields.get(b"vary", b"").split(b",")} - {b""}
        if (
            age is None
            or not int(age[1])
            or not _PUBLIC.search(control)
            or _FORBIDS.search(control)
            or b"set-cookie" in fields
            or not vary <= _VARIES
        ):
            return
        lines = b"".join(head)
        kept = Kept(lines, body, fields.get(b"etag"), now, now + int(age[1]))
        size = kept.size(key)
        if size > min(self.limit, MOST_BYTES):
            return
        old = self._kept.pop(key, None)
        if old is not None:
            self.bytes -= old.size(key)
        while self._kept and self.bytes + size > self.limit:
            gone, out = self._kept.popitem(last=False)
            self.bytes -= out.size(gone)
        self._kept[key] = kept
        self.bytes += size

    async def listen(self, broker: Nats) -> None:
        """Drop everything at every event of the catalogue; for as long as the gateway runs."""
        pause, told = 0.1, False
        while True:
            try:
                connection = await Broker.connect(broker, "gateway")
            except (OSError, nats.errors.Error) as error:
                if not told:
                    log.warning("no events, nothing is cached: %s", type(error).__name__)
                told, pause = True, min(pause * 2, 2.0)
                await asyncio.sleep(pause)
                continue
            try:
                await connection.listen(SUBJECTS, self._heard)
                self.drop()
                self.listening = True
                pause, told = 0.1, False
                await connection.closed.wait()
            except (BrokerLost, TimeoutError, nats.errors.Error) as error:
                log.warning("cannot listen to the catalogue: %s", type(error).__name__)
            finally:
                self.listening = False
                self.drop()
                await connection.close()
            await asyncio.sleep(pause)

    async def _heard(self, _: Msg) -> None:
        self.drop()


def known(kept: Kept, if_none_match: bytes | None) -> bool:
    """Whether the client has this very answer already (weak comparison)."""
    if if_none_match is None or kept.etag is None:
        return False
    mine = kept.etag.removeprefix(b"W/")
    named = {part.strip().removeprefix(b"W/") for part in if_none_match.split(b",")}
    return mine in named or b"*" in named


def answer(kept: Kept, x: Exchange, now: float) -> bytes:
    """The bytes of a kept answer, or of a 304. Sets the status of the exchange."""
    x.status = 304 if known(kept, x.if_none_match) else 200
    out = [
        b"HTTP/1.1 304 Not Modified\r\n" if x.status == 304 else b"HTTP/1.1 200 OK\r\n",
        kept.lines,
        b"age: %d\r\nx-request-id: " % int(now - kept.stored),
        x.request_id,
        b"\r\n",
        x.stamp,
        x.quota,
    ]
    if x.status == 200:
        out.append(b"content-length: %d\r\n" % len(kept.body))
    out.append(b"\r\n" if x.keep else b"connection: close\r\n\r\n")
    if x.status == 200:
        out.append(kept.body)
    return b"".join(out)
