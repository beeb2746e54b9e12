"""Fixtures that every folder of tests shares: real servers, started once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kit.testing import Ground


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """One PostgreSQL for the session."""
    place = Ground(Path(tmp_path_factory.mktemp("ground")))
    place.start()
    yield place
    place.stop()


@pytest.fixture(scope="module")
async def nats_url(ground: Ground) -> AsyncIterator[str]:
    """A broker for one module of tests."""
    async with ground.nats() as url:
        yield url


@pytest.fixture(scope="session")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    import uvloop

    return uvloop.EventLoopPolicy()
