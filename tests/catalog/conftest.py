"""One seeded catalogue for the tests that only read, and fresh ones for those that write."""

from collections.abc import AsyncIterator

import pytest

from catalog_svc.seed import seed
from kit.testing import Ground, Running


@pytest.fixture(scope="module")
async def catalog(ground: Ground, nats_url: str) -> AsyncIterator[Running]:
    """A running catalog-svc with the demo city in it; one for a module."""
    async with ground.service("catalog_svc", nats=nats_url) as running:
        await seed(running.runtime)
        yield running
