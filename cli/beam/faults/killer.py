"""What goes wrong: processes killed or frozen by their ids, the broker's store deleted."""

import asyncio
import contextlib
import functools
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Program of run.json → what stands in its command line, so that only what is ours is struck.
_MARKS = {"postgres": "postgres", "nats": "nats"}
_SPARED = ("supervisor", "zygote")
FREEZE_SECONDS = (0.5, 4.0)
STRIKE_SECONDS = (0.6, 2.4)


@dataclass
class Killer:
    """Strikes the programs of one platform, known by its run.json."""

    data: Path
    rng: random.Random
    struck: list[str] = field(default_factory=list)
    """What was done, in order: `kill payment`, `freeze nats 2.1 s`, …"""
    _last: dict[str, int] = field(default_factory=dict)

    @property
    def pids(self) -> dict[str, int]:
        run = json.loads((self.data / "run.json").read_text())
        return {name: pid for name, pid in run["pids"].items() if name not in _SPARED}

    def kill(self, name: str) -> bool:
        """SIGKILL. False when it is dead already and its successor not yet known."""
        pid = self.pids[name]
        if self._last.get(name) == pid or not _is_ours(name, pid):
            return False
        os.kill(pid, signal.SIGKILL)
        self._last[name] = pid
        self.struck.append(f"kill {name}")
        return True

    @contextlib.contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """SIGSTOP now, SIGCONT at the end."""
        pids = {name: self.pids[name] for name in names}
        held = [pid for name, pid in pids.items() if _is_ours(name, pid)]
        for pid in held:
            os.kill(pid, signal.SIGSTOP)
        self.struck.extend(f"freeze {name}" for name in names)
        try:
            yield
        finally:
            for pid in held:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    async def rage(self, seconds: float, names: Sequence[str] = ()) -> None:
        """Strike anything (or one of `names`) at random moments; a fifth are freezes."""
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < end:
                await asyncio.sleep(self.rng.uniform(*STRIKE_SECONDS))
                name = self.rng.choice(list(names) or sorted(self.pids))
                if self.rng.random() < 0.2:
                    group.create_task(self._freeze(name, self.rng.uniform(*FREEZE_SECONDS)))
                else:
                    self.kill(name)

    async def _freeze(self, name: str, seconds: float) -> None:
        with self.frozen(name):
            await asyncio.sleep(seconds)

    async def restart(self, *names: str) -> None:
        """Kill and wait until their successors are known."""
        before = self.pids
        for name in names:
            await until(functools.partial(self.kill, name))
        await until(lambda: all(self.pids[name] != before[name] for name in names))

    async def lose_store(self) -> None:
        """Kill NATS and take its store away before the supervisor starts it again."""
        store = self.data / "nats" / "store"
        await until(lambda: self.kill("nats"))
        # Renaming is one step: the successor finds the old store whole or none.
        gone = store.with_name(f"store-lost-{len(self.struck)}")
        store.rename(gone)
        shutil.rmtree(gone)
        self.struck.append("lose store of nats")


async def until(question: Callable[[], bool], seconds: float = 120) -> bool:
    """Ask until it is true; False when the time is over."""
    end = time.monotonic() + seconds
    while not (true := question()) and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return true


def family(data: Path) -> list[int]:
    """All processes of the platform in `data`, parents first: the supervisor, what it forked, the
    servers with their own children and guards. Linux only."""
    run = json.loads((data / "run.json").read_text())
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = list(dict.fromkeys(run["pids"].values()))
    for pid in found:
        found += [child for child in children.get(pid, ()) if child not in found]
    return found


def _is_ours(name: str, pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return not Path("/proc").exists()  # no /proc: believe run.json
    return _MARKS.get(name, "beam").encode() in words
