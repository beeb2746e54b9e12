"""What a journey needs around it: addresses from run.json, callers, the sandbox, events."""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import nats

from .door import Door, Failed, patience


@dataclass
class Place:
    """A running platform, as run.json tells of it."""

    gateway: str
    sandbox: str
    accounts: dict[str, dict[str, str]]
    """Login name → {"login", "password", …}"""
    partners: dict[str, dict[str, Any]]
    """Department's system → broker credentials."""
    verify: ssl.SSLContext | bool = True
    """Whom to believe that the gateway is the gateway."""

    @classmethod
    def read(cls, file: Path) -> "Place":
        run = json.loads(file.read_text())
        return cls(
            gateway=run["gateway"],
            sandbox=run["sandbox"],
            accounts={account["login"]: account for account in run["accounts"]},
            partners={partner["system"]: partner for partner in run["partners"]},
        )


@dataclass
class Stage:
    """The callers of one journey and its sandbox. Close it at the end."""

    place: Place
    curls: list[str] | None = None
    doors: dict[str, Door] = field(default_factory=dict)
    sim: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.sim = httpx.AsyncClient(base_url=self.place.sandbox, timeout=20, trust_env=False)

    def open(self, who: str) -> Door:
        """A caller without a token; whoever opens it closes it."""
        return Door(self.place.gateway, who, self.curls, self.place.verify)

    async def door(self, who: str, login: str | None = None) -> Door:
        """The caller `who`, signed in with the demo account `login`."""
        if who not in self.doors:
            door = self.open(who)
            if login is not None:
                account = self.place.accounts[login]
                await door.sign_in(account["login"], account["password"])
            self.doors[who] = door
        return self.doors[who]

    async def simulate(self, path: str, body: Any = None) -> Any:
        """Do something in the outside world: the payer scans, the courier moves."""
        for pause in (0.2, 0.5, 1, 2, 4):
            try:
                answer = await self.sim.post(path, json=body)
                break
            except httpx.TransportError:
                await asyncio.sleep(pause)
        else:
            raise Failed(f"the sandbox does not answer {path}")
        if answer.status_code >= 400:
            raise Failed(f"sandbox {path} → {answer.status_code}: {answer.text[:300]}")
        return answer.json() if answer.content else None

    async def book(self, channel: str) -> Any:
        return (await self.sim.get(f"/_sim/{channel}/book")).json()

    async def close(self) -> None:
        for door in self.doors.values():
            await door.close()
        await self.sim.aclose()


async def until(
    question: Callable[[], Awaitable[Any]], sentence: str, *, seconds: float | None = None
) -> Any:
    """Ask until the answer is something; Failed with the sentence when it never comes within
    `seconds` (default: the caller's patience)."""
    seconds = patience.get() if seconds is None else seconds
    end = time.monotonic() + seconds
    # What an event brings about is there within a few milliseconds, mostly.
    pause = 0.01
    while True:
        answer = await question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failed(f"{sentence} (waited {seconds:.0f} s)")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.5)


class Durable:
    """A department's own system: pulls from its durable with its own least-rights account."""

    def __init__(self, partner: dict[str, Any]) -> None:
        self._partner = partner
        self.events: list[dict[str, Any]] = []
        self.refusals: list[str] = []
        self._over = False
        self._last = "nothing yet"

    def __str__(self) -> str:
        """How it stands, for whoever wonders why it hears nothing."""
        task = "pulls" if not self._task.done() else f"ended: {self._task!r}"
        return (
            f"{self._partner['system']}: {len(self.events)} events, {task}, "
            f"connected {self._client.is_connected}, last {self._last}, "
            f"refused {self.refusals[-3:]}"
        )

    async def __aenter__(self) -> "Durable":
        await self._connect()
        self._task = asyncio.create_task(self._pull())
        return self

    async def _connect(self) -> None:
        async def refused(error: Exception) -> None:
            self.refusals.append(str(error))

        # A lost connection is opened anew by us: the client's own reconnect can wait for ever on
        # a broker that dies while it shakes hands.
        async with asyncio.timeout(5):
            self._client = await nats.connect(
                self._partner["nats_url"].split(","),
                user=self._partner["user"],
                password=self._partner["password"],
                inbox_prefix=self._partner["inbox_prefix"],
                error_cb=refused,
                allow_reconnect=False,
                connect_timeout=2,
                ping_interval=2,
                max_outstanding_pings=2,
            )

    async def _pull(self) -> None:
        # The client waits with wait_for, which before Python 3.12 may lose a cancellation.
        while not self._over:
            try:
                if not self._client.is_connected:
                    await self._client.close()
                    await self._connect()
                await self._pull_once()
            except (nats.errors.Error, OSError, TimeoutError) as error:
                self._last = f"{time.strftime('%X')} {type(error).__name__}"
                await asyncio.sleep(0.2)  # the broker is away, or had nothing: ask again

    async def _pull_once(self) -> None:
        stream, durable = self._partner["stream"], self._partner["durable"]
        ask = json.dumps({"batch": 100, "expires": 2_000_000_000}).encode()
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        try:
            await self._client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}", ask, reply=inbox
            )
            while True:
                message = await subscription.next_msg(timeout=2.5)
                self._last = f"{time.strftime('%X')} {message.headers or 'event'}"
                if message.headers and "Status" in message.headers:
                    await asyncio.sleep(0.1)  # nothing for now, or no such durable yet
                    break
                self.events.append(json.loads(message.data))
                await self._client.publish(message.reply, b"+ACK")
        finally:
            await subscription.unsubscribe()

    async def __aexit__(self, *exc: object) -> None:
        self._over = True
        self._task.cancel()
        (ended,) = await asyncio.gather(self._task, return_exceptions=True)
        await self._client.close()
        if isinstance(ended, Exception):
            raise ended

    def of_case(self, case_id: str) -> list[dict[str, Any]]:
        """What came of one case, each event once, in order."""
        seen: dict[str, dict[str, Any]] = {}
        for event in self.events:
            if event["data"].get("case_id") == case_id:
                seen.setdefault(event["id"], event)
        return list(seen.values())


def limit(clock: dict[str, Any], which: str) -> str:
    """The `promised` or `statutory` limit of a clock with its unit, as people read it."""
    unit = "个工作日" if clock[f"{which}_unit"] == "working_day" else "个自然日"
    return f"{clock[f'{which}_days']} {unit}"
