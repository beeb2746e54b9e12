"""People on their way through the platform: many journeys at once, each as patient as needed."""

import asyncio
import contextlib
import functools
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from ..journey import steps
from ..journey.door import CLIENT_ID, Away, Door, Failed, forms_of, patience
from ..journey.play import APPROVAL, REFUSAL, REFUSED, Report, Told, play
from ..journey.stage import Place, Stage
from ..journey.steps import APPROVED, Journey, Step
from .evidence import Answer

TOKEN_SECONDS = 8 * 60
CODE_SECONDS = 6.0
PAUSES_AFTER_401 = (0.0, 2.0, 4.0, 6.0)
CODE_PAGE = "/oauth2/login/code"
KINDS = {"approved": (APPROVAL, APPROVED), "refused": (REFUSAL, REFUSED)}


class _Stage(Stage):
    """The outside world may be away, too; an act of which the answer was lost has happened when
    repeating it is refused."""

    async def simulate(self, path: str, body: Any = None) -> Any:
        end, uncertain = time.monotonic() + patience.get(), False
        while True:
            try:
                answer = await self.sim.post(path, json=body)
            except httpx.TransportError:
                uncertain = True
                if time.monotonic() > end:
                    raise Failed(f"the sandbox does not answer {path}") from None
                await asyncio.sleep(0.5)
                continue
            if answer.status_code < 400:
                return answer.json() if answer.content else None
            if uncertain:
                return None
            raise Failed(f"sandbox {path} → {answer.status_code}: {answer.text[:300]}")


class _Door(Door):
    """Signs in again when its token is not believed any more, as an app does: a clock that jumps
    ends tokens."""

    enter: Callable[[Door], Awaitable[None]] | None = None

    async def _send(
        self,
        method: str,
        path: str,
        content: bytes | None,
        headers: dict[str, str],
        wanted: tuple[int, ...],
    ) -> httpx.Response:
        for pause in PAUSES_AFTER_401:
            answer = await super()._send(method, path, content, headers, wanted)
            if answer.status_code != 401 or not self.token or self.enter is None:
                return answer
            await asyncio.sleep(pause)
            if headers["authorization"] == f"Bearer {self.token}":
                await self.enter(self)
            headers["authorization"] = f"Bearer {self.token}"
        return await super()._send(method, path, content, headers, wanted)


def _again(step: Step) -> Step:
    """A step that may be taken anew from its beginning: what it makes lives for a minute only."""

    @functools.wraps(step)
    async def taken(journey: Journey) -> str:
        for _ in range(3):
            try:
                return await step(journey)
            except Failed:
                await asyncio.sleep(1)
        return await step(journey)

    return taken


@functools.wraps(steps.open_draft)
async def _open_draft(journey: Journey) -> str:
    # While the licence store is away a draft opens without exemptions: that is a promise, too.
    try:
        return await steps.open_draft(journey)
    except Failed:
        if "case_id" not in journey.facts:
            raise
        return "未能查询证照,材料改为上传"


_CALM: dict[Step, Step] = {
    steps.open_draft: _open_draft,
    steps.show_licence: _again(steps.show_licence),
}


def _later(step: Step, seconds: float) -> Step:
    @functools.wraps(step)
    async def taken(journey: Journey) -> str:
        await asyncio.sleep(seconds)
        return await step(journey)

    return taken


@dataclass
class Outcome:
    """How one journey ended."""

    wish: str
    report: Report

    @property
    def trouble(self) -> str | None:
        if self.report.ok:
            return None
        last = self.report.steps[-1]
        return f"{self.report.case_id or 'a journey'} stopped at {last.name}: {last.result}"


@dataclass
class Crowd:
    """Callers who are signed in once, and the journeys that they make."""

    place: Place
    seconds: float
    """How long anybody waits for anything before giving up."""
    answers: list[Answer] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    wishes: dict[str, str] = field(default_factory=dict)
    pays_after: float = 0.0
    """Seconds for which the fee is due before anybody pays it."""
    _doors: dict[str, _Door] = field(default_factory=dict)
    _signed_in: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def sign_in(self) -> None:
        """Everybody, anew when the tokens are old. Tries until it works or patience ends."""
        async with self._turn:
            if self._doors and time.monotonic() - self._signed_in < TOKEN_SECONDS:
                return
            for who, login in steps.LOGINS.items():
                if who not in self._doors:
                    self._doors[who] = _Door(self.place.gateway, who)
                    self._doors[who].enter = functools.partial(self._enter, login=login)
                    staff = "" if login.isdigit() else who
                    keep = functools.partial(self._keep, staff=staff)
                    self._doors[who].client.event_hooks["response"].append(keep)
                await self._enter(self._doors[who], login=login)
            self._signed_in = time.monotonic()

    def token(self, who: str) -> str:
        """Access token of a caller of the journey, after `sign_in`."""
        return self._doors[who].token

    async def ask(self, who: str, path: str) -> Any:
        """What `path` answers to a caller of the journey, after `sign_in`."""
        return await self._doors[who].get(path)

    async def tell(self, who: str, path: str, body: Any) -> Any:
        """The same for a POST."""
        return await self._doors[who].post(path, body)

    async def _enter(self, door: Door, *, login: str) -> None:
        account, end = self.place.accounts[login], time.monotonic() + self.seconds
        while True:
            try:
                await door.sign_in(account["login"], account["password"])
            except (Failed, Away, httpx.TransportError):
                if time.monotonic() > end:
                    raise
                door.client.cookies.clear()
                await asyncio.sleep(1)
            else:
                return

    async def _keep(self, answer: httpx.Response, staff: str) -> None:
        if answer.request.url.path.startswith("/v1/"):
            await answer.aread()
            self.answers.append(Answer.of(answer.request, answer, staff))

    async def walk(self, wish: str) -> Outcome:
        """One whole journey."""
        patience.set(self.seconds)
        await self.sign_in()
        stage = _Stage(self.place)
        stage.doors.update(self._doors)
        sequence, wanted = KINDS[wish]
        calm = [_CALM.get(step, step) for step in sequence]
        if self.pays_after:
            calm = [_later(s, self.pays_after) if s is steps.pay else s for s in calm]
        try:
            report = await play(stage, calm, wanted, _unwatched)
        finally:
            await stage.sim.aclose()
        outcome = Outcome(wish, report)
        self.outcomes.append(outcome)
        if report.case_id is not None:
            self.wishes[report.case_id] = wish
        return outcome

    async def many(self, count: int, *, over: float = 0.0) -> Sequence[Outcome]:
        """`count` journeys at once, half of them refused, their starts spread `over` seconds."""

        async def one(number: int) -> Outcome:
            await asyncio.sleep(over * number / count)
            return await self.walk("refused" if number % 2 else "approved")

        return await asyncio.gather(*(one(number) for number in range(count)))

    async def keep_coming(self, at_once: int, enough: asyncio.Event) -> None:
        """`at_once` journeys at any time until `enough`; those on their way come to their end."""

        async def line(number: int) -> None:
            while not enough.is_set():
                number += 1
                await self.walk("refused" if number % 2 else "approved")

        await asyncio.gather(*(line(number) for number in range(at_once)))

    async def ask_for_codes(self, enough: asyncio.Event) -> None:
        """Now and then somebody new wants to sign in with a code by short message, until
        `enough`. Nobody waits for it: what became of it the checks see."""
        number = 13_700_000_000 + int(time.time()) % 1_000_000
        while not enough.is_set():
            number += 1
            with contextlib.suppress(httpx.TransportError):
                await self._ask_for_code(str(number))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CODE_SECONDS):
                    await enough.wait()

    async def come_and_go(self, enough: asyncio.Event) -> None:
        """Now and then somebody signs in and gives the token back, until `enough`: identity tells
        everybody of it. Nobody waits for it."""
        account = self.place.accounts[steps.LOGINS[steps.CITIZEN]]
        while not enough.is_set():
            door = Door(self.place.gateway, "visitor")
            with contextlib.suppress(Failed, Away, httpx.TransportError):
                await door.sign_in(account["login"], account["password"])
                given = {"token": door.token, "client_id": CLIENT_ID}
                await door.client.post("/oauth2/revoke", data=given)
            await door.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CODE_SECONDS):
                    await enough.wait()

    async def register_systems(self, enough: asyncio.Event) -> None:
        """Now and then an operator enters another system of a department, until `enough`: what
        people do in the exchange itself, and what it then seals and tells."""
        patience.set(self.seconds)
        await self.sign_in()
        while not enough.is_set():
            given = {"code": f"FIRE-{secrets.token_hex(6)}", "name": "巡检系统"}
            with contextlib.suppress(Failed):
                await self._doors[steps.OPERATOR].post("/v1/partners", given, status=201)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CODE_SECONDS):
                    await enough.wait()

    async def _ask_for_code(self, number: str) -> None:
        door = Door(self.place.gateway, "stranger")
        try:
            page = await door.client.get(CODE_PAGE, follow_redirects=True)
            for form in forms_of(page.text):
                if "phone" in form.fields:
                    fields = {**form.fields, "phone": number, "step": "send"}
                    await door.client.post(form.action, data=fields)
        finally:
            await door.close()

    async def close(self) -> None:
        for door in self._doors.values():
            await door.close()


def _unwatched(journey: Journey, name: str, title: str, told: Told | None) -> None:
    return None
