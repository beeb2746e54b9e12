"""A whole platform as users run it: all programs, real PostgreSQL and NATS, simulated outside."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from beam.demo import started
from beam.journey.stage import Place

from .cast import Cast
from .people import People
from .story import Story, live_through


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the session's platform: its keys, logs and databases."""
    return Path(tmp_path_factory.mktemp("platform")) / "data"


@pytest.fixture(scope="session")
def platform(data: Path) -> Iterator[Place]:
    """One platform for all flows; thousands of requests come from one address, on purpose."""
    limits = {
        "BEAM_GATEWAY_RATE": "0",
        "BEAM_REGISTRATIONS_PER_ADDRESS": "10000",
        "BEAM_CODES_PER_ADDRESS": "10000",
        "BEAM_TRACES": f"file://{data.parent}/traces.jsonl",
        # Fifty at once on a busy machine are to be answered here, not turned away.
        "BEAM_GATEWAY_QUEUE_SECONDS": "60",
    }
    with started(data, **limits) as place:
        yield place


@pytest.fixture(scope="session")
async def cast(platform: Place, data: Path) -> AsyncIterator[Cast]:
    """Callers of every kind, with tokens that the platform's own key signed."""
    async with Cast.of(platform, data) as found:
        yield found


@pytest.fixture(scope="session")
def people() -> People:
    """Made-up people whose every datum is unmistakable."""
    return People(seed=secrets.randbits(32))


@pytest.fixture(scope="session")
async def story(cast: Cast, people: People) -> Story:
    """One journey from registration to rating, lived through by a planted person."""
    return await live_through(cast, people.new())
