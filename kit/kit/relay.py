"""Brings the outbox to the broker. One process per service does it: who holds an advisory lock."""

import asyncio
import contextlib
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any
from uuid import uuid4

from nats.aio.msg import Msg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from . import crash, inbox, outbox, traces
from .broker import Broker, BrokerLost, NoResponders, Refused, StreamState, read_answer
from .bus_metrics import PUBLISHED

log = logging.getLogger(__name__)

BATCH = 500
ATOMIC_FROM = 16
"""An atomic batch costs about 3 ms whatever its size; fewer events are quicker side by side."""
SWEEP_SECONDS = 1.0
CHECK_SECONDS = 15.0
HOLD_SECONDS = 30.0
PRUNE_SECONDS = 60.0
_LOCK = 0x6265616D  # "beam"
_CHANNEL = "outbox"
_DB_SECONDS = 10.0
_ATOMIC_DISABLED = 10174
_TRACE = re.compile(r'"traceparent":"([0-9a-f-]{55})"')

# Never "seq > last": a row whose transaction commits late would be passed over.
_UNSENT = """
select seq, id, subject, body from outbox
where sent_at is null and not (seq = any($1::bigint[])) order by seq limit $2
"""
_MARK = """
update outbox set sent_at = now(), stream_seq = sent.at, stream_created = $3
from unnest($1::bigint[], $2::bigint[]) as sent(seq, at) where outbox.seq = sent.seq
"""
# Other streams, written as two ranges that the index can serve.
_MISSING = """
update outbox set sent_at = null, stream_seq = null, stream_created = null where seq in (
  select seq from outbox
  where sent_at is not null and (
    stream_created < $1 or stream_created > $1
    or (stream_created = $1 and stream_seq > $2 and stream_seq >= $3))
  limit 10000)
"""


class StreamReplaced(Exception):
    """The stream counts from anew: somebody deleted it while we were connected."""


class Relay:
    def __init__(self, engine: AsyncEngine, service: str) -> None:
        self._engine = engine
        self._service = service
        self._woken = asyncio.Event()
        self._stopping = False
        self._atomic = True
        self._held: dict[int, float] = {}
        self._last_seq = 0
        self._watermark = 0
        self.leads = False
        self.published = 0

    def wake(self) -> None:
        """Call after a commit that wrote outbox rows, from the event loop's thread."""
        self._woken.set()

    def stop(self) -> None:
        """`run` returns when what waits now is out."""
        self._stopping = True
        self._woken.set()

    async def run(self, broker: Broker) -> None:
        """Lead when nobody else does, else tell the leader of our commits. Raises BrokerLost."""
        broker.on_close(self.wake)
        async with self._connection() as db:
            while not self._stopping and not broker.closed.is_set():
                if await db.fetchval("select pg_try_advisory_lock($1)", _LOCK, timeout=_DB_SECONDS):
                    try:
                        await self._lead(db, broker)
                    finally:
                        self.leads = False
                    return
                if await self._wait(SWEEP_SECONDS):
                    # Not inside the business transaction: NOTIFY would make commits queue up.
                    await db.execute(f"notify {_CHANNEL}", timeout=_DB_SECONDS)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """A connection of our own for the lock and the notifications, outside of the pool."""
        async with self._engine.connect() as connection:
            raw = await connection.get_raw_connection()
            db: Any = raw.driver_connection
            await connection.run_sync(lambda sync: sync.detach())
            # A frozen leader must not keep the lock.
            await db.execute("set idle_session_timeout = '20s'", timeout=_DB_SECONDS)
            try:
                yield db
            finally:
                # Ends the session and with it the lock, whatever state it is in.
                db.terminate()

    async def _lead(self, db: Any, broker: Broker) -> None:
        await db.add_listener(_CHANNEL, lambda *_: self._woken.set())
        stream = await self._compare(db, broker)
        # A mark that a power cut takes back is an event sent twice under its id, which nobody
        # sees; to wait for the disk would hold up the next events.
        await db.execute("set synchronous_commit = off", timeout=_DB_SECONDS)
        self.leads = True
        log.info("relay of %s leads", self._service)
        checked = pruned = time.monotonic()
        while not broker.closed.is_set():
            now = time.monotonic()
            if now - checked > CHECK_SECONDS:
                checked = now
                state = await broker.stream()
                if state.created != stream.created or state.last_seq < self._last_seq:
                    raise StreamReplaced
            if now - pruned > PRUNE_SECONDS:
                pruned = now
                await self._prune()
            self._woken.clear()
            rows = await db.fetch(_UNSENT, self._holding(), BATCH, timeout=_DB_SECONDS)
            if crash.planted("watermark"):
                rows = self._beyond_the_last(rows)
            if rows:
                await self._send(db, broker, stream, rows)
            if self._stopping:
                if not rows:
                    return
            elif len(rows) < BATCH and not self._woken.is_set():
                await self._wait(SWEEP_SECONDS)

    async def _compare(self, db: Any, broker: Broker) -> StreamState:
        """Before the first publish: what the stream lacks becomes unsent again.

        The stream is shared, so its last sequence says nothing: others may already have refilled
        the places of our lost events. Below `evt.<service>` only we publish, and never before this
        comparison, hence whatever we sent after the newest message there is lost.
        """
        stream = await broker.stream()
        try:
            newest = await broker.last_sequence(f"evt.{self._service}.>")
        except NoResponders:
            log.error("the stream has no direct access (allow_direct); comparing its end only")
            newest = stream.last_seq
        missing = 0
        while not crash.planted("no_refill"):
            arguments = (stream.created, newest, stream.first_seq)
            done = await db.execute(_MISSING, *arguments, timeout=60)
            missing += int(done.split()[-1])
            if done.endswith(" 0"):
                break
        if missing:
            log.warning("%s events of %s are missing in the stream", missing, self._service)
        self._last_seq = newest
        self._held.clear()
        return stream

    async def _send(
        self, db: Any, broker: Broker, stream: StreamState, rows: Sequence[Any]
    ) -> None:
        if crash.planted("mark_before_publish"):
            early = [row["seq"] for row in rows]
            await db.execute(_MARK, early, [0] * len(early), stream.created, timeout=_DB_SECONDS)
        crash.point("r1")
        began = time.time_ns()
        places = None
        if self._atomic and len(rows) >= ATOMIC_FROM:
            places = await self._publish_batch(broker, rows)
        if places is None:
            places = await self._publish_each(broker, rows)
        crash.point("r2")
        if places:
            self._last_seq = max(self._last_seq, max(places.values()))
            await db.execute(
                _MARK, list(places), list(places.values()), stream.created, timeout=_DB_SECONDS
            )
            self.published += len(places)
            self._tell([row for row in rows if row["seq"] in places], began)
        crash.point("r3")

    def _tell(self, rows: Sequence[Any], began: int) -> None:
        tracer = traces.tracer.get()
        kinds = Counter(row["subject"].rsplit(".", 2)[0].removeprefix("evt.") for row in rows)
        for kind, count in kinds.items():
            PUBLISHED.labels(self._service, kind).inc(count)
        if tracer is None:
            return
        for row in rows:
            if found := _TRACE.search(row["body"]):
                kind = row["subject"].rsplit(".", 2)[0].removeprefix("evt.")
                span = traces.Span(
                    f"publish {kind}",
                    traces.PRODUCER,
                    found.group(1),
                    messaging_system="nats",
                    messaging_operation_type="send",
                    messaging_message_id=str(row["id"]),
                )
                span.began = began
                tracer.keep(span)

    async def _publish_batch(self, broker: Broker, rows: Sequence[Any]) -> dict[int, int] | None:
        """All or nothing (ADR-50). None when the batch was refused, as it is when the stream
        already holds one of its ids."""
        batch = uuid4().hex
        for number, row in enumerate(rows[:-1], 1):
            await broker.publish(
                row["subject"], row["body"].encode(), headers=_head(row, batch, number)
            )
        last = rows[-1]
        headers = {**_head(last, batch, len(rows)), "Nats-Batch-Commit": "1"}
        try:
            answer = read_answer(
                await broker.request(last["subject"], last["body"].encode(), headers, seconds=10)
            )
        except Refused as refusal:
            log.info("batch of %s refused, sending one by one: %s", len(rows), refusal)
            self._atomic = refusal.err_code != _ATOMIC_DISABLED
            return None
        first = int(answer["seq"]) - len(rows) + 1
        self._expect_progress(first)
        return {row["seq"]: first + index for index, row in enumerate(rows)}

    async def _publish_each(self, broker: Broker, rows: Sequence[Any]) -> dict[int, int]:
        """Side by side. An event that is refused waits, and does not hold up the others."""
        answers = [
            await broker.ask(row["subject"], row["body"].encode(), _named(row)) for row in rows
        ]
        await asyncio.wait(answers, timeout=5)
        places: dict[int, int] = {}
        trouble: Exception | None = None
        refused: list[Refused] = []
        for row, answer in zip(rows, answers, strict=True):
            try:
                ack = _ack_of(answer)
            except (BrokerLost, NoResponders, TimeoutError) as error:
                trouble = error
            except Refused as error:
                self._hold([row["seq"]])
                refused.append(error)
            else:
                places[row["seq"]] = int(ack["seq"])
                if not ack.get("duplicate"):
                    self._expect_progress(int(ack["seq"]))
        if refused:
            log.error("the stream refuses %s events, the first: %s", len(refused), refused[0])
        if trouble is not None and not places:
            raise trouble
        if trouble is not None:
            # Some went through and some found no answer, as when a right is missing.
            self._hold(row["seq"] for row in rows if row["seq"] not in places)
        return places

    def _hold(self, seqs: Iterable[int]) -> None:
        until = time.monotonic() + HOLD_SECONDS
        self._held.update((seq, until) for seq in seqs if seq not in self._held)

    def _expect_progress(self, sequence: int) -> None:
        if sequence <= self._last_seq:
            raise StreamReplaced

    def _holding(self) -> list[int]:
        now = time.monotonic()
        self._held = {seq: until for seq, until in self._held.items() if until > now}
        return list(self._held)

    def _beyond_the_last(self, rows: Sequence[Any]) -> list[Any]:
        """Planted: what a relay would send that remembers the last row instead of each."""
        beyond = [row for row in rows if row["seq"] > self._watermark]
        self._watermark = max([self._watermark, *(row["seq"] for row in beyond)])
        return beyond

    async def _prune(self) -> None:
        async with AsyncSession(self._engine) as session, session.begin():
            await outbox.prune(session)
            await inbox.prune(session)

    async def _wait(self, seconds: float) -> bool:
        """Wait for a wake-up. Returns whether there was one."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True


def _named(row: Any) -> dict[str, str]:
    """The id that the stream tells repeats by, and what any CloudEvents library knows a structured
    event by (NATS binding 1.0.2, 3.2)."""
    return {"Nats-Msg-Id": str(row["id"]), "Content-Type": "application/cloudevents+json"}


def _head(row: Any, batch: str, number: int) -> dict[str, str]:
    return {
        **_named(row),
        "Nats-Batch-Id": batch,
        "Nats-Batch-Sequence": str(number),
    }


def _ack_of(answer: asyncio.Future[Msg]) -> dict[str, Any]:
    if not answer.done():
        answer.cancel()
        raise TimeoutError("no acknowledgement from the stream")
    return read_answer(answer.result())
