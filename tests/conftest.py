"""Fixtures that every folder of tests shares: real servers, started once."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

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


def pytest_asyncio_loop_factories(config: object, item: object) -> dict[str, Any]:
    """The loop that the services run on."""
    return {"uvloop": uvloop.new_event_loop}
