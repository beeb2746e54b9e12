"""Work that nobody waits for: sweeps and due rows, run by every process of a service.

A job takes its rows with `for update skip locked`, so that processes share the work and a killed
one loses nothing. `wake(session, "name")` starts a job at once after the session's commit;
its interval is the net below.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import Counter
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session as SyncSession

if TYPE_CHECKING:
    from .app import Runtime

log = logging.getLogger(__name__)
FAILED = Counter("beam_job_failures_total", "Job runs that ended in an error", ["job"])
Job = Callable[["Runtime"], Awaitable[None]]


@dataclass
class Jobs:
    """What one service does by itself: `@every(seconds=5)` above `async def sweep(runtime)`."""

    entries: list[tuple[Job, float]] = field(default_factory=list)
    _wakes: dict[str, asyncio.Event] = field(default_factory=dict)

    def every(self, *, seconds: float) -> Callable[[Job], Job]:
        def register(job: Job) -> Job:
            self.entries.append((job, seconds))
            return job

        return register


class Runner:
    """Runs the jobs of one service in this process."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._wakes = {job.__name__: asyncio.Event() for job, _ in jobs.entries}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, runtime: "Runtime") -> None:
        self._tasks = [
            asyncio.create_task(self._loop(job, seconds, runtime), name=job.__name__)
            for job, seconds in self._jobs.entries
        ]

    def wake(self, name: str) -> None:
        self._wakes[name].set()

    async def _loop(self, job: Job, seconds: float, runtime: "Runtime") -> None:
        wake = self._wakes[job.__name__]
        failures = 0
        while True:
            pause = min(seconds * 2**failures, 60) if failures else seconds
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), pause * random.uniform(0.9, 1.1))
            wake.clear()
            try:
                await job(runtime)
                failures = 0
            except Exception:
                failures = min(failures + 1, 6)
                FAILED.labels(job.__name__).inc()
                log.exception("job %s failed", job.__name__)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def wake(session: AsyncSession, name: str) -> None:
    """Run the job `name` of this process as soon as the session has committed."""
    session.sync_session.info.setdefault("wake", set()).add(name)


@event.listens_for(SyncSession, "after_commit")
def _run_woken(session: SyncSession) -> None:
    runner: Runner | None = session.info.get("jobs")
    for name in session.info.pop("wake", ()):
        if runner is not None:
            runner.wake(name)
