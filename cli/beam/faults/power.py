"""Power cuts: the whole platform on a disk of its own, frozen at a moment, started again from what
the disk held then. Callers and the outside world live on; they keep what they were told."""

import asyncio
import contextlib
import functools
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ..demo import free_port_base, started
from . import volumes
from .killer import family, until
from .trial import Trial, trial

MEGABYTES = 3000
PATIENCE = 240.0
PROMISES = 6
"""So many writes have been answered with success before the power goes."""


class _Machine:
    """The platform on its disk: `on`, `cut`, `off`. Blocking work happens in threads."""

    def __init__(self, place: Path, bug: str, name: str = "data") -> None:
        self._place, self._stack = place, contextlib.ExitStack()
        self._image = volumes.Image(place / "disk0.img", place / "disk", megabytes=MEGABYTES)
        self.data = self._image.folder / name
        self._environment = {"BEAM_PORT_BASE": str(free_port_base()), "BEAM_PLANT": bug}
        self.cuts = 0

    def on(self) -> None:
        self._stack.enter_context(self._image.mounted())
        outside = self._place / "outside"
        outside.mkdir(exist_ok=True)
        self.data.mkdir(exist_ok=True)
        (self.data / "run.json").unlink(missing_ok=True)  # of the life before
        with contextlib.suppress(FileExistsError):
            (self.data / "sandbox").symlink_to(outside)  # not our computer, not our power cut
        self._stack.enter_context(started(self.data, **self._environment))

    def cut(self) -> None:
        """Everything stands still, the disk is copied as it is, everything is dead."""
        pids = family(self.data)
        for pid in pids:
            _send(pid, signal.SIGSTOP)
        self.cuts += 1
        left = self._image.after_power_cut(self._place / f"disk{self.cuts}.img")
        for pid in pids:
            _send(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._stack.close()
        self._image.backing.unlink()
        self._image = left

    def off(self) -> None:
        self._stack.close()


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _promises(the: Trial) -> int:
    return sum(1 for a in the.crowd.answers if a.method == "POST" and 200 <= a.status < 300)


def _promised(the: Trial, count: int) -> bool:
    return _promises(the) >= count


@contextlib.asynccontextmanager
async def _running(place: Path, bug: str, seed: int) -> AsyncIterator[tuple[_Machine, Trial]]:
    machine = _Machine(place, bug)
    try:
        await asyncio.to_thread(machine.on)
        async with trial(machine.data, seed=seed, patience=PATIENCE) as the:
            yield machine, the
    finally:
        await asyncio.to_thread(machine.off)


async def cut_off(
    place: Path, *, cuts: int, journeys: int, seed: int, bug: str = ""
) -> dict[str, Any]:
    """`journeys` at once, the power cut in the middle, everything started again from what the
    disk held; `cuts` times. Nothing that was answered before a cut may be missing. `bug`: planted
    in everything; `unsynced` is a database that does not wait for its disk."""
    rng = random.Random(seed)
    async with _running(place, bug, seed) as (machine, the):
        for _ in range(cuts):
            before = _promises(the)
            walking = asyncio.create_task(the.crowd.many(journeys, over=2.0))
            # On a busy machine some seconds may pass before there is anything to lose.
            await until(functools.partial(_promised, the, before + PROMISES))
            await asyncio.sleep(rng.uniform(0, 7))
            await asyncio.to_thread(machine.cut)
            the.killer.struck.append("power cut")
            await asyncio.to_thread(machine.on)
            await walking
            await the.settle()
        return the.as_json() | {"cuts": machine.cuts}
