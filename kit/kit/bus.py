"""A service's connection to the others' events: relay and consumers, over one connection to NATS
that is opened again whenever it is lost. A broker that is away stops nothing else."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any

import nats.errors
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from . import bus_metrics, deadletters, outbox
from .broker import Broker, BrokerLost, Copies, Nats, NoResponders, Refused
from .consumers import ACK_WAIT_SECONDS, RETRY_DELAYS, Consumer
from .db import Sessions
from .inbox import Subscribers
from .relay import Relay, StreamReplaced
from .revocations import Watcher
from .settings import ServiceSettings

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 2.0
_SAMPLE_SECONDS = 5.0
_UNTOLD = (BrokerLost, NoResponders, Refused, TimeoutError)
"""What the broker did not say is not known now; readiness tells of one that is away."""


class Bus:
    """`await start()` after the engine is there, `await stop()` before it goes."""

    def __init__(
        self,
        settings: ServiceSettings,
        engine: AsyncEngine,
        sessions: Sessions,
        on: Subscribers | None = None,
        *,
        retry_delays: Sequence[float] = RETRY_DELAYS,
        ack_wait: float = ACK_WAIT_SECONDS,
    ) -> None:
        """`retry_delays` are the seconds between the tries of an event that fails, `ack_wait`
        those until one that was fetched and not answered comes again."""
        self._sessions = sessions
        self._nats = Nats(
            settings.nats_url,
            settings.nats_user,
            settings.nats_password.get_secret_value(),
            settings.nats_replicas,
        )
        self._service = settings.service
        self.on = on if on is not None else Subscribers()
        self.relay = Relay(engine, self._service)
        self.consumers = [
            Consumer(sessions, self._service, subscription, retry_delays, ack_wait)
            for subscription in self.on.subscriptions
        ]
        self.watcher: Watcher | None = None
        """Hears revoked tokens; set before the start by who verifies tokens."""
        self._broker: Broker | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sampler: asyncio.Task[None] | None = None
        self._lag = outbox.Lag(0, 0.0)
        self._dead = 0
        self._copies: Copies | None = None

    @property
    def connected(self) -> bool:
        return self._broker is not None and not self._broker.closed.is_set()

    @property
    def broker(self) -> Broker:
        """The present connection, for services that manage more than their own consumers. Do not
        keep it. Raises BrokerLost."""
        if self._broker is None or self._broker.closed.is_set():
            raise BrokerLost("not connected to NATS")
        return self._broker

    def wake(self) -> None:
        """Tell the relay of outbox rows that were committed without `emit`."""
        self.relay.wake()

    async def start(self) -> None:
        """Returns at once, whether the broker is there or not."""
        info = {**(self._sessions.kw.get("info") or {}), outbox.WAKE: self.relay.wake}
        self._sessions.configure(info=info)
        self._task = asyncio.create_task(self._run(), name=f"bus of {self._service}")
        self._sampler = asyncio.create_task(self._sample())

    async def stop(self, seconds: float = 10.0) -> None:
        """Fetch no more, finish what is in hand, publish what waits; at most `seconds`."""
        if self._task is None or self._sampler is None:
            return
        self._sampler.cancel()
        self._stopping.set()
        self.relay.stop()
        if self.watcher is not None:
            self.watcher.stop()
        for consumer in self.consumers:
            consumer.stop()
        done, _ = await asyncio.wait([self._task], timeout=seconds)
        if not done:
            log.warning("bus of %s did not end in %s s", self._service, seconds)
            self._task.cancel()
            await asyncio.wait([self._task])
        self._task = None

    def health(self) -> dict[str, Any]:
        """For /health/ready and metrics; what stands in the database as of the last sample."""
        return {
            "connected": self.connected,
            "leads": self.relay.leads,
            "published": self.relay.published,
            "handled": sum(consumer.handled for consumer in self.consumers),
            "failed": sum(consumer.failed for consumer in self.consumers),
            "unsent": self._lag.unsent,
            "oldest_unsent_seconds": round(self._lag.oldest_seconds, 1),
            "dead_letters": self._dead,
            "copies": asdict(self._copies) if self._copies is not None else None,
        }

    def lags(self) -> list[dict[str, Any]]:
        """Each consumer: what waits for it at the broker as of the last sample, what it did."""
        return [
            {
                "name": consumer.durable,
                **consumer.waiting,
                "handled": consumer.handled,
                "failed": consumer.failed,
            }
            for consumer in self.consumers
        ]

    async def sample(self) -> None:
        """Look into the database for `health`; done every few seconds while the bus runs."""
        async with self._sessions() as session:
            self._lag = await outbox.lag(session)
            self._dead = await deadletters.count_open(session)
        bus_metrics.CONNECTED.labels(self._service).set(self.connected)
        bus_metrics.UNSENT.labels(self._service).set(self._lag.unsent)
        bus_metrics.UNSENT_AGE.labels(self._service).set(self._lag.oldest_seconds)
        bus_metrics.DEAD.labels(self._service).set(self._dead)
        try:
            self._copies = await self.broker.copies()
            bus_metrics.COPIES.labels(self._service).set(self._copies.kept)
            bus_metrics.COPIES_WANTED.labels(self._service).set(self._copies.wanted)
        except _UNTOLD:
            self._copies = None
        for consumer in self.consumers:
            try:
                await consumer.measure(self.broker)
            except _UNTOLD:
                consumer.waiting = {}

    async def replay(self, session: AsyncSession, letter_id: str) -> None:
        """Run a dead letter's handler again, see `kit.deadletters.replay`."""
        await deadletters.replay(session, self.on, self._service, letter_id)

    async def _sample(self) -> None:
        while True:
            try:
                await self.sample()
            except Exception as error:  # noqa: BLE001 - the next sample tells
                log.warning("no sample of the outbox: %s", deadletters.describe(error))
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _run(self) -> None:
        pause = 0.1
        told = False
        while not self._stopping.is_set():
            try:
                self._broker = broker = await Broker.connect(self._nats, self._service)
            except (OSError, nats.errors.Error) as error:
                if not told:
                    log.error("no connection to NATS, trying on: %s", type(error).__name__)
                told = True
                await self._rest(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            pause, told = 0.1, False
            log.info("%s is connected to NATS", self._service)
            try:
                await self._work(broker)
            finally:
                await broker.close()
            if not self._stopping.is_set():
                log.warning("connection to NATS lost")
                await self._rest(pause)

    async def _work(self, broker: Broker) -> None:
        runs = [self.relay.run, *(consumer.run for consumer in self.consumers)]
        if self.watcher is not None:
            runs.append(self.watcher.run)
        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(self._keep(run, broker))

    async def _keep(self, run: Callable[[Broker], Awaitable[None]], broker: Broker) -> None:
        """Run until the connection or the service ends, again after every other trouble."""
        while not self._stopping.is_set() and not broker.closed.is_set():
            try:
                await run(broker)
            except BrokerLost:
                return
            except StreamReplaced:
                log.warning("the stream was replaced; comparing it with the outbox")
            except Refused as refusal:
                log.error("JetStream refuses: %s", refusal)
                await self._rest(1)
            except Exception as error:  # noqa: BLE001 - told, and tried again
                log.error("bus of %s: %s", self._service, deadletters.describe(error))
                await self._rest(1)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
