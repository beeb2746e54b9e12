"""Connections are given out in turn."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.ext.asyncio import AsyncEngine

from kit import pool
from kit.db import open_engine, open_sessions
from kit.testing import Ground


async def ask(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(text("select 1")))


@pytest.fixture
async def one(ground: Ground):
    engine = open_engine(await ground.database("helpdesk_svc"), pool=1, overflow=0)
    yield engine
    await engine.dispose()


async def test_who_comes_back_at_once_overtakes_nobody(one: AsyncEngine):
    served: list[str] = []

    async def keep_asking(name: str, times: int) -> None:
        for _ in range(times):
            session = sessions()
            await session.execute(text("select 1"))
            await session.commit()  # the connection goes back, as at the end of a request
            served.append(name)

    sessions = open_sessions(one)

    await asyncio.gather(*(keep_asking(name, 20) for name in "abc"))
    assert sorted(served[:30]) == sorted("abc" * 10)


async def test_who_gives_up_while_it_comes_takes_it_from_nobody(one: AsyncEngine):
    for moment in range(30):
        held = await one.connect()
        waiting = asyncio.create_task(ask(one))
        await asyncio.sleep(0.001)
        closing = asyncio.create_task(held.close())
        for _ in range(moment % 10):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(closing, waiting, return_exceptions=True)
        assert await asyncio.wait_for(ask(one), 5) == 1


async def test_who_gives_up_when_all_come_back_at_once_loses_none(ground: Ground):
    """One of the two is beyond the pool's size: its place is taken when it goes back."""
    engine = open_engine(await ground.database("helpdesk_svc"), pool=1, overflow=1)
    for moment in range(40):
        held = [await engine.connect() for _ in range(2)]
        waiting = asyncio.create_task(ask(engine))
        await asyncio.sleep(0.001)
        closing = [asyncio.create_task(each.close()) for each in held]
        while not closing[1].done():
            await asyncio.sleep(0)
        if moment % 2:
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(*closing, waiting, return_exceptions=True)
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    await engine.dispose()


async def test_what_comes_back_to_a_full_line_is_kept():
    line = pool._InTurn(1)
    waiting = asyncio.create_task(line.get())
    await asyncio.sleep(0)
    line.put_nowait("a")
    line.put_nowait("b")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert {line.get_nowait(), line.get_nowait()} == {"a", "b"}


async def test_a_wait_has_an_end(ground: Ground):
    engine = open_engine(await ground.database("helpdesk_svc"), pool=1, overflow=0)
    engine.pool._timeout = 0.05  # type: ignore[attr-defined]
    async with engine.connect():
        with pytest.raises(NoneFree):
            await ask(engine)
    assert await ask(engine) == 1
    await engine.dispose()
