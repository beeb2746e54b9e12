"""How long it takes until everything is well again after a death: of one service, of PostgreSQL, of
NATS, of everything at once. Each several times; told are the median and what came when."""

import asyncio
import contextlib
import functools
import os
import signal
import statistics
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..demo import free_port_base, started
from ..health import status_of, until_ready
from ..programs import NATS_OFFSET, POSTGRES_OFFSET
from .killer import family, until
from .trial import Trial, trial

PATIENCE = 120.0
SINGLE = ("case", "postgres", "nats")
_LOOK_SECONDS = 0.03


async def _listens(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(_LOOK_SECONDS)
        else:
            writer.close()
            return


class Watch:
    """Since a death: when each part was there again. Whoever is well is not asked again before the
    end: the questions are not to take the time that they measure."""

    def __init__(self, the: Trial) -> None:
        self.began = time.monotonic()
        self.stages: dict[str, float] = {}
        ports = {name: urlsplit(url).port for name, url in the.services.items()}
        self._ports = {name: port for name, port in ports.items() if port is not None}
        self._base = int(the.crowd.place.gateway.rpartition(":")[2])

    def note(self, stage: str) -> float:
        self.stages[stage] = round(time.monotonic() - self.began, 2)
        return self.stages[stage]

    async def _of(self, stage: str, port: int) -> None:
        await _listens(port)
        self.note(stage)

    async def _ready(self, name: str, port: int) -> None:
        await self._of(f"{name} listens", port)
        await until_ready(port)
        self.note(f"{name} ready")

    async def well(self) -> float:
        """Wait until every service says that it is ready: its database, its connection to the
        broker. Gives the seconds since the death."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._of("postgres listens", self._base + POSTGRES_OFFSET))
            group.create_task(self._of("nats listens", self._base + NATS_OFFSET))
            for name, port in self._ports.items():
                group.create_task(self._ready(name, port))
        # One may have been well before it noticed the death of another.
        while not await self._all_ready():  # noqa: ASYNC110  other processes tell nobody
            await asyncio.sleep(_LOOK_SECONDS)
        return self.note("well")

    async def _all_ready(self) -> bool:
        told = await asyncio.gather(*(status_of(port) for port in self._ports.values()))
        return {*told} == {200}


def _is_new(the: Trial, name: str, before: int) -> bool:
    return the.killer.pids[name] != before


def _kill_everything(data: Path) -> None:
    pids = family(data)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def cpu_seconds(pid: int) -> float:
    """Of a process so far, which a busy machine lengthens less than the seconds on the wall."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _one(the: Trial, name: str) -> Watch:
    await Watch(the).well()
    before, watch = the.killer.pids[name], Watch(the)
    the.killer.kill(name)
    await until(functools.partial(_is_new, the, name, before))
    watch.note("known to the supervisor")
    await watch.well()
    return watch


async def _deaths(place: Path, seed: int, times: int) -> dict[str, Any]:
    data, environment = place / "data", {"BEAM_PORT_BASE": str(free_port_base())}
    found: dict[str, list[Watch]] = {name: [] for name in (*SINGLE, "everything")}
    spent: list[float] = []
    stack = contextlib.ExitStack()
    try:
        await asyncio.to_thread(stack.enter_context, started(data, **environment))
        async with trial(data, seed=seed, patience=PATIENCE) as the:
            for _ in range(times):
                await the.crowd.many(2)
                for name in SINGLE:
                    found[name].append(await _one(the, name))
                services, watch = the.services, Watch(the)
                await asyncio.to_thread(_kill_everything, data)
                await asyncio.to_thread(stack.close)
                the.killer.struck.append("kill everything")
                (data / "run.json").unlink()
                watch.note("started again")
                start = asyncio.to_thread(stack.enter_context, started(data, **environment))
                await asyncio.gather(start, watch.well())
                spent.append(sum(map(cpu_seconds, family(data))))
                assert services == the.services
                found["everything"].append(watch)
            await the.crowd.many(2)
            await the.settle()
            return (
                the.as_json() | _told(found) | {"cpu_seconds": round(statistics.median(spent), 1)}
            )
    finally:
        await asyncio.to_thread(stack.close)


def _told(found: dict[str, list[Watch]]) -> dict[str, Any]:
    """`recovered_after`: part → median of its seconds; `recoveries`: each; `stages`: the medians
    of when what was there."""
    each = {name: [watch.stages["well"] for watch in watches] for name, watches in found.items()}
    return {
        "recovered_after": {name: round(statistics.median(all_), 1) for name, all_ in each.items()},
        "recoveries": each,
        "stages": {
            name: {
                stage: round(statistics.median(watch.stages[stage] for watch in watches), 2)
                for stage in sorted(watches[0].stages, key=watches[0].stages.__getitem__)
            }
            for name, watches in found.items()
        },
    }


def run(place: Path, *, seed: int, times: int) -> dict[str, Any]:
    """Report with `recovered_after`: part → seconds."""
    return asyncio.run(_deaths(place, seed, times))
