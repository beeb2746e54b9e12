"""What catalog-svc does by itself: keep the counts of queries that found nothing."""

import contextlib
from collections.abc import AsyncIterator

from kit.jobs import Jobs
from kit.runtime import Runtime

from .misses import Misses

jobs = Jobs()


@contextlib.asynccontextmanager
async def with_misses(runtime: Runtime) -> AsyncIterator[None]:
    """Give the runtime its counter of misses; what waits at the end is kept."""
    enough: int = runtime.settings.misses_before_text  # type: ignore[attr-defined]
    misses = Misses(runtime.vault, enough)
    runtime.parts["misses"] = misses
    yield
    await misses.keep(runtime.sessions)


@jobs.every(seconds=30)
async def keep_misses(runtime: Runtime) -> None:
    """Add the misses since the last time to the database."""
    misses: Misses = runtime.parts["misses"]
    await misses.keep(runtime.sessions)
