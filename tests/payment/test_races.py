"""Payers pay in the very moment in which their cases end, codes are renewed and the sweeper asks:
whoever is quicker, nobody loses money and nothing is kept that is not owed."""

import asyncio
from functools import partial

import httpx

from kit.ids import new_id
from kit.testing import until

from .conftest import Town


async def test_paying_races_with_the_end_of_the_case(town: Town) -> None:
    cases = [new_id("case") for _ in range(16)]
    await asyncio.gather(*(town.fee_due(case_id) for case_id in cases))
    ids = [(await until(partial(town.of_case, case_id)))[0]["id"] for case_id in cases]
    attempts = [await town.start(order_id) for order_id in ids]
    await town.outside.sim("wechat/notices", copies=2, times=len(cases))

    async def race(case_id: str, n: int) -> bool:
        ending = asyncio.create_task(town.withdraw(case_id))
        await asyncio.sleep(0.01 * n)
        town.runtime.wake("sweep_attempts")
        try:
            await town.pay(attempts[n])
        except httpx.HTTPStatusError:
            paid = False  # the code was closed already
        else:
            paid = True
        await ending
        return paid

    paid = await asyncio.gather(*(race(case_id, n) for n, case_id in enumerate(cases)))

    async def at_rest() -> bool:
        for job in ("sweep_attempts", "work_refunds"):
            town.runtime.wake(job)
        found = [await town.get(order_id) for order_id in ids]
        return all(
            order["state"] in ("cancelled", "refunded")
            and order["attempt"]["state"] in ("paid", "closed")
            and all(refund["state"] == "succeeded" for refund in order["refunds"])
            and bool(order["refunds"]) == was_paid
            for order, was_paid in zip(found, paid, strict=True)
        )

    await until(at_rest, seconds=60)
    for order_id, was_paid in zip(ids, paid, strict=True):
        book = await town.book(order_id)
        assert [row["total"] for row in book["payments"]] == ([8000] if was_paid else [])
        assert [row["amount"] for row in book["refunds"]] == ([8000] if was_paid else [])
        versions = [event["aggregateversion"] for event in await town.events(order_id)]
        assert versions == sorted(set(versions))
    assert all(balance == 0 for balance in (await town.balance()).values())
    assert town.runtime.bus.health()["dead_letters"] == 0
