"""One connection to NATS: requests that fail at once when it is lost, and the stream of events.

There is no automatic reconnect here: after every new connection the relay has to compare the
stream with the outbox before it publishes, so the bus opens a new `Broker` instead.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

log = logging.getLogger(__name__)

STREAM = "EVENTS"
SUBJECTS = "evt.>"
_SECOND = 10**9
_STREAM_CONFIG = {
    "name": STREAM,
    "subjects": [SUBJECTS],
    "storage": "file",
    "retention": "limits",
    # A full stream refuses: the outbox keeps what it has. It never drops the oldest to make room.
    "discard": "new",
    # Longer than any consumer may stay away, shorter than inbox rows are kept (kit.inbox.KEEP).
    "max_age": 35 * 86400 * _SECOND,
    "max_msgs": -1,
    "max_bytes": -1,
    "duplicate_window": 120 * _SECOND,
    "allow_atomic": True,
    "allow_direct": True,
}
_STREAM_NOT_FOUND = 10059
_STREAM_CONFIG_DIFFERS = 10058
_REQUEST_SECONDS = 5.0


@dataclass(frozen=True)
class Nats:
    """Where the broker is (several addresses with commas between) and who we are there.
    `replicas` counts for a stream that we create."""

    url: str
    user: str = ""
    password: str = ""
    replicas: int = 1


@dataclass(frozen=True)
class StreamState:
    created: str
    """The moment of creation as the server says it: another moment is another stream."""
    first_seq: int
    last_seq: int


@dataclass(frozen=True)
class Copies:
    """On how many brokers the stream of events lies."""

    kept: int
    """Of those that are there and have all of it."""
    wanted: int
    """By its own configuration or by our settings, whichever is more."""


class BrokerLost(ConnectionError):
    """The connection is gone; open another one."""


class NoResponders(ConnectionError):
    """Nobody serves this subject: no such stream or consumer, or JetStream is not up."""


class Refused(Exception):
    """JetStream said no."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        self.err_code = int(error.get("err_code", 0))
        super().__init__(f"{self.err_code} {error.get('description', '')}")


class Broker:
    """Open with `await Broker.connect(...)`; `closed` is set when it ends, for whatever reason."""

    def __init__(self, settings: Nats, service: str) -> None:
        self._settings = settings
        self._client = Client()
        self._prefix = f"_INBOX_{service}"
        self._answers = ""
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._count = 0
        self._on_close: set[Callable[[], None]] = set()
        self.closed = asyncio.Event()

    @classmethod
    async def connect(cls, settings: Nats, service: str) -> Self:
        """Raises OSError, TimeoutError or nats.errors.Error when there is no way in."""
        broker = cls(settings, service)
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                await broker._client.connect(
                    settings.url.split(","),
                    name=f"beam-{service}",
                    user=settings.user or None,
                    password=settings.password or None,
                    inbox_prefix=broker._prefix,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=2,
                    # A frozen server is noticed after 6 s; the defaults would take 4 minutes.
                    ping_interval=2,
                    max_outstanding_pings=2,
                    error_cb=broker._error,
                    closed_cb=broker._closed,
                )
                broker._answers = broker._client.new_inbox()
                await broker._client.subscribe(f"{broker._answers}.*", cb=broker._answered)
        except BaseException:
            await broker._client.close()
            raise
        return broker

    async def close(self) -> None:
        await self._client.close()
        await self._closed()

    def on_close(self, poke: Callable[[], None]) -> None:
        self._on_close.add(poke)

    async def subscribe(self, callback: Callable[[Msg], Awaitable[None]]) -> tuple[str, Any]:
        """Listen on a fresh inbox of ours; returns its subject and the subscription."""
        self._check()
        inbox = self._client.new_inbox()
        return inbox, await self._client.subscribe(inbox, cb=callback)

    async def listen(self, subjects: str, callback: Callable[[Msg], Awaitable[None]]) -> None:
        """Hear what is published under `subjects` from now on; what comes while nobody listens is
        lost. Returns when the server has taken it. Raises TimeoutError or BrokerLost."""
        self._check()
        await self._client.subscribe(subjects, cb=callback)
        await self._client.flush(int(_REQUEST_SECONDS))

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        self._check()
        try:
            await self._client.publish(subject, payload, reply, headers)
        except nats.errors.ConnectionClosedError as error:
            raise BrokerLost from error

    async def ask(
        self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None
    ) -> asyncio.Future[Msg]:
        """Send a request and return its coming answer, so that many can be under way at once."""
        self._check()
        self._count += 1
        token = str(self._count)
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = answer
        answer.add_done_callback(lambda _: self._waiting.pop(token, None))
        await self.publish(subject, payload, reply=f"{self._answers}.{token}", headers=headers)
        return answer

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        seconds: float = _REQUEST_SECONDS,
    ) -> Msg:
        """Raises BrokerLost, NoResponders or TimeoutError."""
        answer = await self.ask(subject, payload, headers)
        async with asyncio.timeout(seconds):
            return await answer

    async def api(self, call: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A call of the JetStream API. Raises Refused besides what `request` raises."""
        payload = json.dumps(body).encode() if body is not None else b""
        return read_answer(await self.request(f"$JS.API.{call}", payload))

    async def stream(self) -> StreamState:
        """The state of the stream of events, which is created when it does not exist.

        It is never changed or deleted: its limits belong to whoever operates the broker.
        """
        try:
            info = await self.api(f"STREAM.INFO.{STREAM}")
        except Refused as refusal:
            if refusal.err_code != _STREAM_NOT_FOUND:
                raise
            config = {**_STREAM_CONFIG, "num_replicas": self._settings.replicas}
            try:
                info = await self.api(f"STREAM.CREATE.{STREAM}", config)
                log.warning("created the stream %s", STREAM)
            except Refused as second:
                if second.err_code != _STREAM_CONFIG_DIFFERS:
                    raise
                info = await self.api(f"STREAM.INFO.{STREAM}")
        state = info["state"]
        return StreamState(info["created"], int(state["first_seq"]), int(state["last_seq"]))

    async def copies(self) -> Copies:
        """Raises what `api` raises."""
        info = await self.api(f"STREAM.INFO.{STREAM}")
        others = (info.get("cluster") or {}).get("replicas") or []
        kept = 1 + sum(bool(one.get("current") and not one.get("offline")) for one in others)
        return Copies(kept, max(int(info["config"]["num_replicas"]), self._settings.replicas))

    async def last_sequence(self, subjects: str) -> int:
        """Sequence of the newest message in the stream under `subjects`; 0 when there is none.

        A replica that lags may answer: then events are sent again that were not lost, which their
        ids make harmless.
        """
        answer = await self.request(f"$JS.API.DIRECT.GET.{STREAM}.{subjects}")
        headers = answer.headers or {}
        if "Nats-Sequence" in headers:
            return int(headers["Nats-Sequence"])
        if headers.get("Status") == "404":
            return 0
        raise Refused({"description": f"direct get: {headers.get('Status')}"})

    def _check(self) -> None:
        if self.closed.is_set() or self._client.is_closed:
            raise BrokerLost("the connection to NATS is closed")

    async def _answered(self, msg: Msg) -> None:
        answer = self._waiting.get(msg.subject.rpartition(".")[2])
        if answer is None or answer.done():
            return
        if msg.headers and msg.headers.get("Status") == "503":
            answer.set_exception(NoResponders("no responders"))
            answer.exception()  # see _closed
        else:
            answer.set_result(msg)

    async def _error(self, error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            log.error("NATS refuses: %s", error)
        elif self._answers:  # before that it is `connect` that tells
            log.warning("NATS: %s %s", type(error).__name__, error)

    async def _closed(self) -> None:
        if self.closed.is_set():
            return
        self.closed.set()
        for answer in list(self._waiting.values()):
            if not answer.done():
                answer.set_exception(BrokerLost("the connection to NATS was lost"))
                answer.exception()  # who waits is told; who no longer waits need not be
        for poke in self._on_close:
            poke()


def read_answer(msg: Msg) -> dict[str, Any]:
    """The JSON of an API answer or a PubAck. Raises Refused."""
    answer: dict[str, Any] = json.loads(msg.data)
    if "error" in answer:
        raise Refused(answer["error"])
    return answer
