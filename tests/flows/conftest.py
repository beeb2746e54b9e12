"""A whole platform as users run it: all programs, real PostgreSQL and NATS, simulated outside."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from beam.demo import started
from beam.journey.stage import Place


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    data = Path(tmp_path_factory.mktemp("platform")) / "data"
    # Ten journeys on the same demo accounts are more than one client may ask for in a second.
    with started(data, BEAM_GATEWAY_RATE="0") as place:
        yield place
