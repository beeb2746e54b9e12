"""A platform of its own for whoever breaks things, and what two calm journeys left in it."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from beam.demo import started
from beam.faults.evidence import Evidence
from beam.faults.trial import Trial, trial


@pytest.fixture(scope="session")
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="beam-faults-") as made:
        Path(made).chmod(0o711)
        with started(Path(made) / "data"):
            yield Path(made) / "data"


@pytest.fixture(scope="session")
async def victim(data: Path) -> AsyncIterator[Trial]:
    async with trial(data, seed=20261122, patience=180) as found:
        yield found


@pytest.fixture(scope="session")
async def calm(victim: Trial) -> Evidence:
    """One approved and one refused journey, with nothing wrong. For async tests only: for others
    a second victim would be made."""
    await victim.crowd.many(2)
    assert await victim.settle() == []
    return await victim.evidence()
