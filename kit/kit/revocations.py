"""Access tokens that were taken back before their end, known to every process within seconds.

The issuer tells by an event; each process hears it live through a consumer of its own, which
starts with what was said in the last quarter of an hour, the longest that a token lives. So what
has to be remembered ends by itself, and a restarted process knows what the others know.
"""

import asyncio
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta

import nats.errors
from nats.aio.msg import Msg

from contracts.event import Envelope
from contracts.identity import SessionRevoked

from .broker import STREAM, Broker, BrokerLost, Nats, NoResponders, Refused
from .clock import now
from .ids import born
from .jose import LEEWAY_SECONDS, MAX_LIFE_SECONDS

log = logging.getLogger(__name__)
REMEMBERED_SECONDS = MAX_LIFE_SECONDS + 2 * LEEWAY_SECONDS
MOST = 100_000
_NANO = 10**9
_HEARTBEAT_SECONDS = 2
_SILENCE_SECONDS = 3 * _HEARTBEAT_SECONDS
SUBJECT = f"evt.{SessionRevoked.TYPE}.>"


class Revoked:
    """What was taken back: single tokens, families (the part of `jti` before the dot), all that
    an account got before a moment, and keys. At most `most` entries; then the oldest is forgotten,
    and said so."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._entries: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.withdrawals = 0
        """How often a key was withdrawn, for who keeps what it signed."""

    def __len__(self) -> int:
        return len(self._entries)

    def note(self, what: str, ref: str, at: float) -> None:
        """Refuse from now on what was issued until `at` (seconds since 1970)."""
        seconds = time.time()
        while self._entries:
            oldest, (_, until) = next(iter(self._entries.items()))
            if until > seconds and len(self._entries) < self._most:
                break
            if until > seconds:
                log.warning("too many revocations; the oldest is forgotten")
            del self._entries[oldest]
        key = f"{what}|{ref}"
        known = self._entries.pop(key, (0.0, 0.0))
        # Remembered from when we hear it: late news of an old event must not end at once.
        self._entries[key] = (max(at, known[0]), seconds + REMEMBERED_SECONDS)
        self.withdrawals += what == "key"

    def withdrawn(self) -> frozenset[str]:
        """The `kid` of each key that nobody may believe any more."""
        return frozenset(k.removeprefix("key|") for k in self._entries if k.startswith("key|"))

    def refuses(self, subject: str, jti: str, issued: int) -> bool:
        """Whether a token with these claims was taken back."""
        entries = self._entries
        if not entries:
            return False
        if f"token|{jti}" in entries:
            return True
        family, dot, _ = jti.partition(".")
        if dot and f"family|{family}" in entries:
            return True
        entry = entries.get(f"account|{subject}")
        if entry is None:
            return False
        # A token says whole seconds; its family was born in a millisecond. So who signs in again
        # right after "sign out everywhere" is let in, and no older family outlives it.
        began = born(family) if dot else None
        return (issued if began is None else began) <= entry[0]


class Missed(Exception):
    """A revocation was sent to us and did not arrive, or nobody sends them any more."""


class Watcher:
    """Hears revocations live; `note` is called with (what, ref, seconds) for each.

    The broker numbers what it sends to us and says the last number with every heartbeat, so one
    that was lost on the way (a client library drops what comes too fast) is missed at once. Then
    we listen anew, from the start: to hear of one twice changes nothing."""

    def __init__(
        self,
        service: str,
        note: Callable[[str, str, float], None],
        caught_up: asyncio.Event | None = None,
    ) -> None:
        self._service, self._note = service, note
        self._arrived: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._stopping = False
        self._heard = self._told_before = 0
        self.caught_up = caught_up or asyncio.Event()
        """Set when all was heard that had been told before we began to listen."""

    def stop(self) -> None:
        self._stopping = True
        self._poke()

    def _poke(self) -> None:
        self._arrived.put_nowait(None)

    async def _arrive(self, msg: Msg) -> None:
        self._arrived.put_nowait(msg)

    async def run(self, broker: Broker) -> None:
        """Listen until `stop`, the end of the connection, or that of our consumer
        (silence, a gap): then run it again."""
        self._arrived, self._heard = asyncio.Queue(), 0
        broker.on_close(self._poke)
        inbox, listening = await broker.subscribe(self._arrive)
        try:
            await broker.stream()
            name = f"{self._service}__live-{secrets.token_hex(6)}"
            since = now() - timedelta(seconds=REMEMBERED_SECONDS)
            config = {
                "name": name,
                "deliver_subject": inbox,
                "filter_subject": SUBJECT,
                "deliver_policy": "by_start_time",
                "opt_start_time": since.isoformat().replace("+00:00", "Z"),
                "ack_policy": "none",
                "idle_heartbeat": _HEARTBEAT_SECONDS * _NANO,
                "inactive_threshold": 30 * _NANO,
                "mem_storage": True,
                "num_replicas": 1,
            }
            call = f"CONSUMER.CREATE.{STREAM}.{name}.{SUBJECT}"
            info = await broker.api(call, {"stream_name": STREAM, "config": config})
            self._told_before = info["delivered"]["consumer_seq"] + info["num_pending"]
            self._look()
            while not self._stopping and not broker.closed.is_set():
                async with asyncio.timeout(_SILENCE_SECONDS):
                    msg = await self._arrived.get()
                if msg is not None:
                    self._hear(msg)
        except TimeoutError:
            log.warning("revocations fell silent; listening again")
        except Missed as missed:
            log.warning("revocations: %s; listening again", missed)
            await asyncio.sleep(0.2)
        finally:
            if not broker.closed.is_set():
                await listening.unsubscribe()

    def _hear(self, msg: Msg) -> None:
        headers = msg.headers or {}
        if not msg.data and "Status" in headers:
            if headers["Status"] != "100":
                raise Missed(f"status {headers['Status']}")
            if int(headers.get("Nats-Last-Consumer", self._heard)) != self._heard:
                raise Missed("the last one did not arrive")
            return
        # $JS.ACK.….<number in the stream>.<number for this consumer>.<time>.<pending>
        number = int(msg.reply.split(".")[-3])
        self._take(msg.data)
        if number != self._heard + 1:
            raise Missed("one did not arrive")
        self._heard = number
        self._look()

    def _look(self) -> None:
        if self._heard >= self._told_before:
            self.caught_up.set()

    def _take(self, body: bytes) -> None:
        try:
            said = SessionRevoked.model_validate(Envelope.model_validate_json(body).data)
        except ValueError:
            log.error("an unreadable revocation")
            return
        self._note(said.what, said.ref, said.until.timestamp())


async def follow(
    settings: Nats,
    service: str,
    note: Callable[[str, str, float], None],
    caught_up: asyncio.Event | None = None,
) -> None:
    """For a program without a bus: listen for ever, on a connection of its own. `caught_up` is set
    when all was heard that had been told before."""
    told = False
    watcher = Watcher(service, note, caught_up)
    while True:
        try:
            broker = await Broker.connect(settings, service)
        except (OSError, TimeoutError, nats.errors.Error) as error:
            if not told:
                log.error("no connection to NATS, trying on: %s", type(error).__name__)
            told = True
            await asyncio.sleep(1)
            continue
        told = False
        try:
            while not broker.closed.is_set():
                try:
                    await watcher.run(broker)
                except (Refused, NoResponders, json.JSONDecodeError) as error:
                    log.error("no revocations: %s", error)
                    await asyncio.sleep(1)
        except BrokerLost:
            log.warning("connection to NATS lost")
        finally:
            await broker.close()
        await asyncio.sleep(0.2)
