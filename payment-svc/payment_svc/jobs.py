"""What payment-svc does by itself: ask channels, expire orders, give money back."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from kit.jobs import Jobs
from kit.runtime import Runtime

from . import attempts, orders, refunds

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
