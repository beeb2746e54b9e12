"""What payment-svc does by itself: ask channels, expire orders, give money back."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from kit.jobs import Jobs
from kit.runtime import Runtime

from . import attempts, money, orders, reconciliations, refunds
from .channels import Channel
from .settings import settings_of

jobs = Jobs()
AT_ONCE = 6
"""Rows together: fewer than the connections of the pool."""


async def _each(
    runtime: Runtime,
    claim: Callable[..., Awaitable[Sequence[str]]],
    act: Callable[[Runtime, str], Awaitable[None]],
) -> None:
    """Claim due rows and act on them together until none is due. One that fails stops no other."""
    while ids := await claim(runtime, limit=AT_ONCE):
        ends = await asyncio.gather(*(act(runtime, id_) for id_ in ids), return_exceptions=True)
        failures = [end for end in ends if isinstance(end, Exception)]
        if failures:
            raise ExceptionGroup("some rows failed; they are due again", failures)


@jobs.every(seconds=1)
async def sweep_attempts(runtime: Runtime) -> None:
    """Query the channel for attempts that are due; close those whose time is over."""
    await _each(runtime, attempts.claim_due, attempts.settle)


@jobs.every(seconds=1)
async def expire_orders(runtime: Runtime) -> None:
    """Expire orders that nobody paid in time."""
    async with runtime.sessions.begin() as session:
        await orders.expire_due(session)


@jobs.every(seconds=1)
async def work_refunds(runtime: Runtime) -> None:
    """Submit refunds and follow them to their end."""
    await _each(runtime, refunds.claim_due, refunds.submit)


@jobs.every(seconds=60)
async def reconcile(runtime: Runtime) -> None:
    """Fetch the bills of days that are over and compare them with the books, oldest first."""
    for name in _channels(runtime):
        async with runtime.sessions.begin() as session:
            await reconciliations.plan(session, name)
        most = settings_of(runtime).payment_reconcile_days
        for run_id in await reconciliations.claim_due(runtime, name, limit=most):
            await reconciliations.fetch(runtime, run_id)


@jobs.every(seconds=60)
async def review_reconciliations(runtime: Runtime) -> None:
    """Repair what the channel can prove, and close the days that balance then."""
    for name in _channels(runtime):
        for run_id in await reconciliations.claim_reviews(runtime, name, limit=AT_ONCE):
            await reconciliations.review(runtime, run_id)


@jobs.every(seconds=60)
async def measure_reconciliation(runtime: Runtime) -> None:
    """How many differences are open, and for how long a day has waited: for Prometheus."""
    async with runtime.sessions() as session:
        await money.measure(session)


def _channels(runtime: Runtime) -> Sequence[str]:
    channels: dict[str, Channel] = runtime.parts["channels"]
    return list(channels)
