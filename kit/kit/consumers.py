"""One durable pull consumer per handler: fetch, apply in one transaction, acknowledge twice."""

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any
from uuid import UUID, uuid5

from nats.aio.msg import Msg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from contracts.event import Envelope

from . import crash, deadletters
from .broker import STREAM, Broker, BrokerLost, NoResponders, Refused
from .bus_metrics import DELAY, HANDLED, PENDING
from .db import Sessions
from .inbox import Delivery, Later, Subscription, Undecodable, apply, context_of

log = logging.getLogger(__name__)

BATCH = 64
"""At most so many events share a transaction …"""
MANY = 256
"""… and of those whose handler takes many at once."""
LONG_SECONDS = 0.25
"""A transaction should not last longer: the next ones then take fewer events."""
RETRY_DELAYS = (1.0, 5.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds before the second, third … try. After the one that follows the last delay: dead."""
MAX_LATER = 200
ACK_WAIT_SECONDS = 30.0
"""After this long without an answer the broker delivers again: we were killed."""
_EXPIRES_SECONDS = 30
_HEARTBEAT_SECONDS = 5
_ACK_SECONDS = 5.0
_MOST_SPOILERS = 1024
_SILENCE_SECONDS = 3 * _HEARTBEAT_SECONDS
_NANO = 10**9
_STREAM_NOT_FOUND = 10059
_UNREADABLE = UUID("6f6e6562-6561-6d00-8000-0000000000dd")
# Classes of SQLSTATE that say: not you, not now. 08 connection, 40 rolled back (deadlock,
# serialisation), 53 resources, 55 lock not available, 57 operator intervention (shutdown).
_NOT_NOW = ("08", "40", "53", "55", "57")


@dataclass
class _Item:
    msg: Msg
    delivery: Delivery

    @property
    def id(self) -> UUID:
        return self.delivery.envelope.id


class Consumer:
    def __init__(
        self,
        sessions: Sessions,
        service: str,
        subscription: Subscription,
        retry_delays: Sequence[float] = RETRY_DELAYS,
        ack_wait: float = ACK_WAIT_SECONDS,
    ) -> None:
        self._ack_wait = ack_wait
        self._sessions = sessions
        self._service = service
        self._subscription = subscription
        self._delays = retry_delays
        self._arrived: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._most = MANY if subscription.many else BATCH
        self._limit = 1
        self._open = 0
        self._vanished = False
        self._stopping = False
        self._spoilers: set[UUID] = set()
        """What failed here or asked for later: the next time it shall not spoil a batch."""
        self._unheard: set[asyncio.Future[Msg]] = set()
        self._outcomes = {
            name: HANDLED.labels(service, name)
            for name in ("done", "repeated", "later", "retried", "dead")
        }
        self._delay = DELAY.labels(service)
        self.durable = subscription.durable(service)
        self.handled = 0
        self.failed = 0
        self.waiting: dict[str, int] = {}
        """As of the last `measure`: pending (not given to us yet), unanswered, redelivered; empty
        while it is not known."""

    async def measure(self, broker: Broker) -> None:
        """Ask the broker how far behind we are. Raises what `Broker.api` raises."""
        info = await broker.api(f"CONSUMER.INFO.{STREAM}.{self.durable}")
        self.waiting = {
            "pending": int(info["num_pending"]),
            "unanswered": int(info["num_ack_pending"]),
            "redelivered": int(info["num_redelivered"]),
        }
        PENDING.labels(self._service, self.durable).set(self.waiting["pending"])

    def stop(self) -> None:
        """`run` returns after the batch in hand; what was fetched beyond it goes back."""
        self._stopping = True
        self._poke()

    async def run(self, broker: Broker) -> None:
        """Consume until `stop` or the end of the connection. Raises BrokerLost."""
        self._arrived = asyncio.Queue()
        broker.on_close(self._poke)
        inbox, listening = await broker.subscribe(self._arrive)
        try:
            await self._ensure(broker)
            while not self._stopping and not broker.closed.is_set():
                if self._vanished:
                    await asyncio.sleep(0.2)
                    await self._ensure(broker)
                if self._open + self._arrived.qsize() <= self._most // 2:
                    await self._pull(broker, inbox)
                batch = await self._next()
                if batch:
                    await self._take(broker, batch)
        finally:
            if not broker.closed.is_set():
                await listening.unsubscribe()
        await self._give_back(broker)
        if self._unheard:
            await asyncio.wait(self._unheard, timeout=_ACK_SECONDS)

    async def _ensure(self, broker: Broker) -> None:
        """Create the durable, also when it or the stream vanished. Harmless when it is there."""
        name, subjects = self.durable, self._subscription.filter
        body = {
            "stream_name": STREAM,
            "config": {
                "durable_name": name,
                "name": name,
                "filter_subject": subjects,
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": int(self._ack_wait * _NANO),
                # Events that wait for their next try count too; they must not stop the others.
                "max_ack_pending": 1024,
                # The end of trying is a dead letter in our database: at its own limit the broker
                # would fall silent.
                "max_deliver": -1,
            },
        }
        call = f"CONSUMER.CREATE.{STREAM}.{name}.{subjects}"
        try:
            await broker.api(call, body)
        except Refused as refusal:
            if refusal.err_code != _STREAM_NOT_FOUND:
                raise
            await broker.stream()
            await broker.api(call, body)
        self._open = 0
        self._vanished = False

    async def _pull(self, broker: Broker, inbox: str) -> None:
        ask = {
            "batch": self._most,
            "expires": _EXPIRES_SECONDS * _NANO,
            "idle_heartbeat": _HEARTBEAT_SECONDS * _NANO,
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{self.durable}"
        self._open += self._most
        await broker.publish(subject, json.dumps(ask).encode(), reply=inbox)

    async def _arrive(self, msg: Msg) -> None:
        status = (msg.headers or {}).get("Status")
        if status is None or msg.data:
            self._open -= 1
            self._arrived.put_nowait(msg)
            return
        if status == "408":
            self._open -= int((msg.headers or {}).get("Nats-Pending-Messages", self._most))
        elif status != "100":
            # 409: deleted, server shutting down …; 503: nobody there.
            self._vanished = True
        self._poke()

    def _poke(self) -> None:
        self._arrived.put_nowait(None)

    async def _next(self) -> list[Msg]:
        """What has arrived, at least one thing; a poke or silence gives an empty list."""
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                first = await self._arrived.get()
        except TimeoutError:
            self._vanished = True
            return []
        batch = [first]
        while len(batch) < self._limit and not self._arrived.empty():
            batch.append(self._arrived.get_nowait())
        return [msg for msg in batch if msg is not None]

    async def _take(self, broker: Broker, batch: Sequence[Msg]) -> None:
        crash.point("c1")
        if crash.planted("ack_first"):
            await self._acknowledge(broker, batch)
        items: list[_Item] = []
        for msg in batch:
            try:
                items.append(_Item(msg, self._subscription.read(msg.data)))
            except Undecodable as error:
                await self._fail(broker, msg, _id_of(msg), error, tries=1)
        began = time.monotonic()
        for spoils, some in groupby(items, key=lambda item: item.id in self._spoilers):
            run = list(some)
            if not spoils and len(run) > 1 and await self._together(broker, run):
                continue
            for item in run:
                with context_of(item.delivery.envelope):
                    await self._alone(broker, item)
        if time.monotonic() - began > LONG_SECONDS:
            self._limit = max(self._limit // 2, 1)
        else:
            self._limit = min(self._limit * 2, self._most)

    async def _together(self, broker: Broker, items: Sequence[_Item]) -> bool:
        """All in one transaction; False when one of them spoiled it."""
        try:
            await self._apply(items)
        except Exception as error:  # noqa: BLE001 - each event then meets it alone
            log.info("%s: batch of %s, now one by one: %s", self.durable, len(items),
                     deadletters.describe(error))  # fmt: skip
            return False
        await self._acknowledge(broker, [item.msg for item in items])
        return True

    async def _alone(self, broker: Broker, item: _Item) -> None:
        try:
            await self._apply([item])
        except Later as later:
            self._suspect(item.id)
            if _deliveries(item.msg) < MAX_LATER:
                self._outcomes["later"].inc()
                await self._nak(broker, item.msg, later.seconds)
            else:
                await self._fail(broker, item.msg, item.id, later)
        except Exception as error:  # noqa: BLE001 - counted and kept in _fail
            if crash.planted("swallow_errors"):
                await self._acknowledge(broker, [item.msg])
            elif transient(error):
                log.warning("%s: database not ready: %s", self.durable, deadletters.describe(error))
                await self._nak(broker, item.msg, 1.0)
                await asyncio.sleep(0.5)
            else:
                self._suspect(item.id)
                await self._fail(broker, item.msg, item.id, error)
        else:
            self._spoilers.discard(item.id)
            await self._acknowledge(broker, [item.msg])

    def _suspect(self, event_id: UUID) -> None:
        if len(self._spoilers) >= _MOST_SPOILERS:
            self._spoilers.clear()  # others may have handled them: no harm, a batch more fails
        self._spoilers.add(event_id)

    async def _apply(self, items: Sequence[_Item]) -> None:
        async with self._sessions.begin() as session:
            deliveries = [item.delivery for item in items]
            done = await apply(session, self._subscription, self.durable, deliveries)
            repeated = [item.id for item in items if _deliveries(item.msg) > 1]
            if repeated:
                await deadletters.note_success(session, consumer=self.durable, event_ids=repeated)
        crash.point("c3")
        self.handled += len(done)
        self._outcomes["repeated"].inc(len(items) - len(done))
        self._outcomes["done"].inc(len(done))
        now, told = datetime.now(UTC), log.isEnabledFor(logging.INFO)
        for delivery in done:
            delay = (now - delivery.envelope.time).total_seconds()
            self._delay.observe(max(delay, 0.0))
            if told:
                self._tell(delivery.envelope, delay)

    def _tell(self, envelope: Envelope, delay: float) -> None:
        with context_of(envelope):
            fields = {
                "consumer": self.durable,
                "event_id": str(envelope.id),
                "event_type": envelope.event_type,
                "ms": round(delay * 1000, 1),
            }
            log.info("handled an event", extra={"fields": fields})

    async def _acknowledge(self, broker: Broker, batch: Sequence[Msg]) -> None:
        """Ack, and hear from the server that it has it, while the next events are taken. It takes
        the acks of a connection in their order, so its answer to the last one speaks for all.
        Without an answer the events come again, and the inbox tells that they were handled."""
        for msg in batch[:-1]:
            await broker.publish(msg.reply)
        answer = await broker.ask(batch[-1].reply)
        self._unheard.add(answer)
        late = asyncio.get_running_loop().call_later(_ACK_SECONDS, answer.cancel)

        def heard(answer: asyncio.Future[Msg]) -> None:
            late.cancel()
            self._unheard.discard(answer)
            if answer.cancelled() or answer.exception():
                log.warning("%s: %s acks without an answer", self.durable, len(batch))
            crash.point("c4")

        answer.add_done_callback(heard)

    async def _fail(
        self,
        broker: Broker,
        msg: Msg,
        event_id: UUID,
        error: Exception,
        tries: int | None = None,
    ) -> None:
        self.failed += 1
        try:
            async with self._sessions.begin() as session:
                failures, dead = await deadletters.note_failure(
                    session,
                    consumer=self.durable,
                    event_id=event_id,
                    subject=msg.subject,
                    body=msg.data,
                    error=error,
                    tries=tries or len(self._delays) + 1,
                )
        except Exception as second:
            if not transient(second):
                raise
            await self._nak(broker, msg, 1.0)
            return
        reason = deadletters.describe(error)
        self._outcomes["dead" if dead else "retried"].inc()
        if dead:
            self._spoilers.discard(event_id)
            log.error("%s: event %s is dead: %s", self.durable, event_id, reason)
            await broker.request(msg.reply, b"+TERM")
        else:
            log.warning(
                "%s: event %s failed %s times: %s", self.durable, event_id, failures, reason
            )
            await self._nak(broker, msg, self._delays[min(failures, len(self._delays)) - 1])

    async def _nak(self, broker: Broker, msg: Msg, seconds: float) -> None:
        delay = json.dumps({"delay": int(seconds * _NANO)}).encode()
        await broker.publish(msg.reply, b"-NAK " + delay if seconds else b"-NAK")

    async def _give_back(self, broker: Broker) -> None:
        while not broker.closed.is_set() and not self._arrived.empty():
            msg = self._arrived.get_nowait()
            if msg is not None:
                await self._nak(broker, msg, 0)


def transient(error: BaseException) -> bool:
    """Whether the database was away or undecided, so that the event itself is not to blame."""
    if isinstance(error, DBAPIError):
        state: Any = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
        return error.connection_invalidated or str(state or "08")[:2] in _NOT_NOW
    return isinstance(error, (PoolTimeout, OSError, BrokerLost, NoResponders))


def _deliveries(msg: Msg) -> int:
    """How often it was delivered, from `$JS.ACK.<stream>.<consumer>.<deliveries>…`, which newer
    servers write with domain and account before the stream."""
    tokens = msg.reply.split(".")
    return int(tokens[4 if len(tokens) == 9 else 6])


def _id_of(msg: Msg) -> UUID:
    """An id for what we cannot read: its own if the header tells it, else one of its bytes."""
    try:
        return UUID((msg.headers or {})["Nats-Msg-Id"])
    except (KeyError, ValueError):
        return uuid5(_UNREADABLE, f"{msg.subject} {msg.data.hex()}")
