"""Fixtures that every folder of tests shares: real servers, started once."""

from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from kit.testing import Ground

from .memory import begin
from .sharing import Sharing, load, rank


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


def pytest_configure(config: pytest.Config) -> None:
    """Before the processes that run the tests are started; they inherit the place."""
    begin(config)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before the collection."""
    load(session.config)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing:
    """Who runs which file, when several processes run the tests."""
    return Sharing(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    """File after file: pytest would run the asynchronous tests of all files before the others,
    since these share a loop, and so set up twice, or miss, what the tests of a file share.
    One process alone keeps the order of the folders."""
    if hasattr(config, "workerinput"):
        items.sort(key=rank)
    files = {item.path: None for item in items}
    place = {path: number for number, path in enumerate(files)}
    yield
    items.sort(key=lambda item: place[item.path])
