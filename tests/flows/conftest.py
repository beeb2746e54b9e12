"""A whole platform as users run it: all programs, real PostgreSQL and NATS, simulated outside."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from beam.demo import started
from beam.journey.stage import Place


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with started(Path(tmp_path_factory.mktemp("platform")) / "data") as place:
        yield place
