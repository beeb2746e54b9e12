"""Keys that clients lay out themselves (`jwks_uri`), read under guard and kept for a while.

Ten minutes; a key that is not among them makes us look again, once in half a minute at most. While
the client's address is away what was read last serves for a day.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from kit.guarded import Outward, Unreachable
from kit.jose import BadToken, KeySet, named_key

log = logging.getLogger(__name__)
FRESH_SECONDS = 600
PAUSE_SECONDS = 30
SERVES_SECONDS = 24 * 3600
MOST_KEYS = 20


@dataclass
class _Entry:
    keys: KeySet = field(default_factory=lambda: KeySet({}))
    read_at: float = float("-inf")
    tried_at: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class ClientKeys:
    """This process's copies, by address."""

    def __init__(self, outward: Outward) -> None:
        self._outward = outward
        self._entries: dict[str, _Entry] = {}

    async def of(self, uri: str, assertion: str) -> KeySet:
        """The keys to verify this assertion with; an empty set when there are none to be had."""
        try:
            kid = named_key(assertion)
        except BadToken:
            return KeySet({})
        entry = self._entries.setdefault(uri, _Entry())
        if self._wants(entry, kid):
            async with entry.lock:
                if self._wants(entry, kid):
                    await self._read(uri, entry)
        too_old = time.monotonic() - entry.read_at > SERVES_SECONDS
        return KeySet({}) if too_old else entry.keys

    def _wants(self, entry: _Entry, kid: str | None) -> bool:
        now = time.monotonic()
        stale = now - entry.read_at > FRESH_SECONDS
        unknown = kid is not None and kid not in entry.keys
        return (stale or unknown) and now - entry.tried_at > PAUSE_SECONDS

    async def _read(self, uri: str, entry: _Entry) -> None:
        entry.tried_at = time.monotonic()
        try:
            document = await self._outward.json(uri)
            listed = document["keys"]
            if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_KEYS:
                raise ValueError("keys")
            entry.keys, entry.read_at = KeySet(document), time.monotonic()
        except (Unreachable, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            fields = {"why": type(error).__name__}
            log.warning("a client's keys could not be read", extra={"fields": fields})
