"""Jobs end when their service does."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kit.jobs import Jobs, Runner


@pytest.mark.parametrize("turns", range(5))
async def test_a_job_that_is_woken_while_it_is_stopped_ends(turns: int) -> None:
    """The service goes at any of the loop's turns after a commit woke the job."""
    jobs, runs = Jobs(), []

    @jobs.every(seconds=60)
    async def sweep(runtime: object) -> None:
        runs.append(runtime)

    runner = Runner(jobs)
    runner.start(cast(Any, SimpleNamespace(settings=SimpleNamespace(service="test"))))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    runner.wake("sweep")
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await runner.stop()
    assert len(runs) <= 1
