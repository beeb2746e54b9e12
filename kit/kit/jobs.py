"""Work that nobody waits for: sweeps and due rows, run by every process of a service.

A job takes its rows with `for update skip locked`, so that processes share the work and a killed
one loses nothing. `wake(session, "name")` starts a job at once after the session's commit;
its interval is the net below.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Counter, Gauge
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session as SyncSession

from . import context, crash, traces
from .runtime import Runtime

log = logging.getLogger(__name__)
RUNS = Counter("beam_job_runs_total", "Runs of jobs: done, failed", ["service", "task", "outcome"])
SUCCESS = Gauge(
    "beam_job_last_success_timestamp_seconds", "When a job last did its work", ["service", "task"]
)
Job = Callable[[Runtime], Awaitable[None]]


@dataclass
class Jobs:
    """What one service does by itself: `@every(seconds=5)` above `async def sweep(runtime)`."""

    entries: list[tuple[Job, float]] = field(default_factory=list)

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
        self._failures = dict.fromkeys(self._wakes, 0)
        self._succeeded: dict[str, float] = {}

    def health(self) -> list[dict[str, Any]]:
        """Each job: how often it runs, when it last succeeded (UTC), failures in a row since."""
        return [
            {
                "name": job.__name__,
                "every_seconds": seconds,
                "last_success": _utc(self._succeeded.get(job.__name__)),
                "failures": self._failures[job.__name__],
            }
            for job, seconds in self._jobs.entries
        ]

    def start(self, runtime: Runtime) -> None:
        self._tasks = [
            asyncio.create_task(self._loop(job, seconds, runtime), name=job.__name__)
            for job, seconds in self._jobs.entries
        ]

    def wake(self, name: str) -> None:
        self._wakes[name].set()

    async def _loop(self, job: Job, seconds: float, runtime: Runtime) -> None:
        name, service = job.__name__, runtime.settings.service
        wake = self._wakes[name]
        failures = 0
        while True:
            pause = min(seconds * 2**failures, 60) if failures else seconds
            if crash.planted("no_sweep"):
                pause = 1e6
            # Not wait_for: before Python 3.12 it may lose the cancellation by which we are stopped.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.9, 1.1)):
                    await wake.wait()
            wake.clear()
            try:
                await _run(job, runtime)
                failures = self._failures[name] = 0
                RUNS.labels(service, name, "done").inc()
                self._succeeded[name] = time.time()
                SUCCESS.labels(service, name).set(self._succeeded[name])
            except Exception:
                failures = min(failures + 1, 6)
                self._failures[name] += 1
                RUNS.labels(service, name, "failed").inc()
                log.exception("job %s failed", name)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _run(job: Job, runtime: Runtime) -> None:
    """A run is a trace of its own; only one that called, emitted or failed is kept."""
    with traces.span(f"job {job.__name__}", parent=None) as span:
        span.kept = False
        try:
            await job(runtime)
        except Exception:
            span.kept = True
            raise
        finally:
            # A job may have taken up the context of the row that it worked on.
            context.request_id.set(None)


def _utc(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


def wake(session: AsyncSession, name: str) -> None:
    """Run the job `name` of this process as soon as the session has committed."""
    session.sync_session.info.setdefault("wake", set()).add(name)


@event.listens_for(SyncSession, "after_commit")
def _run_woken(session: SyncSession) -> None:
    runner: Runner | None = session.info.get("jobs")
    for name in session.info.pop("wake", ()):
        if runner is not None:
            runner.wake(name)
