"""A host: one process that runs one program or all of them, and is started again when it dies."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import arming, health
from .environment import Environment
from .nursery import Child, Nursery
from .place import Place
from .programs import Program
from .screen import Screen
from .state import State
from .trouble import Trouble

ATTEMPTS_AT_START = 3
"""A host that dies this often before it was ready once ends the start."""
LONGEST_PAUSE = 5.0


@dataclass
class Shared:
    """What all hosts of a run share."""

    place: Place
    screen: Screen
    nursery: Nursery
    zygote_back: asyncio.Event
    environment: Environment
    state: State
    seeds: frozenset[str]
    """Programs whose demo data is wanted."""
    changed: Callable[[], None]
    """Called when a process id is another."""


class Host:
    """`run` until cancelled; `ready` is set once all of its programs have been ready."""

    def __init__(self, name: str, programs: list[Program], shared: Shared) -> None:
        self.name = name
        self.programs = programs
        self.child: Child | None = None
        self.ready = asyncio.Event()
        self._shared = shared
        self._ready_now = False

    async def run(self) -> None:
        """Start, wait for the end, pause, start again. Raises Trouble when it never gets ready."""
        pause, deaths, shared = 0.1, 0, self._shared
        while True:
            await shared.zygote_back.wait()
            try:
                child = await shared.nursery.fork(
                    self.name, {"programs": self._orders()}, shared.screen.line
                )
            except ConnectionError:
                await asyncio.sleep(0.1)  # the zygote has just died; its watcher starts another
                continue
            self.child, self._ready_now = child, False
            shared.changed()
            readiness = asyncio.create_task(self._wait_ready(child))
            try:
                await child.ended.wait()
            finally:
                readiness.cancel()
            how = _how(await shared.nursery.exit_code(child))
            child.collect()
            deaths += 1
            if not self.ready.is_set() and deaths >= ATTEMPTS_AT_START:
                raise self._trouble()
            pause = 0.1 if self._ready_now else min(pause * 2, LONGEST_PAUSE)
            shared.screen.notice(
                f"{self.name} 已停止({how}),{pause:.1f} 秒后重新启动",
                f"{self.name} has ended ({how}), starting again in {pause:.1f} s",
            )
            await asyncio.sleep(pause)

    def _orders(self) -> dict[str, Any]:
        return {
            program.name: {
                "env": self._shared.environment.of(program),
                "port": self._shared.place.port(program),
                "seed": self._wants_seed(program),
                "crash": arming.take(self._shared.place.data, program.name),
            }
            for program in self.programs
        }

    def _wants_seed(self, program: Program) -> bool:
        return program.name in self._shared.seeds and not self._shared.state.is_seeded(program.name)

    async def _wait_ready(self, child: Child) -> None:
        for program in self.programs:
            await health.until_ready(self._shared.place.port(program))
        for program in self.programs:
            while self._wants_seed(program):
                if {"seeded": program.name} in child.told:
                    self._shared.state.mark_seeded(program.name)
                await asyncio.sleep(0.02)
        self._ready_now = True
        if self.ready.is_set():
            self._shared.screen.notice(f"{self.name} 已恢复", f"{self.name} is back")
        self.ready.set()

    def _trouble(self) -> Trouble:
        log = self._shared.place.logs / f"{self.name}.log"
        tail = self._shared.screen.tail(self.name)
        return Trouble(
            f"{self.name} 无法启动(日志见 {log}):\n{tail}",
            f"{self.name} does not start; its last lines are above, all of them in {log}.",
        )


def _how(code: int | None) -> str:
    if code is None:
        return "?"
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
