"""Two toy services in one process that a fault test kills: alpha tells numbers, beta notes them
and tells that it did. Ends by itself when everything that was told has come to rest.

program.py ALPHA_URL BETA_URL NATS_URL COUNT
"""

import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import ClassVar

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.event import Event
from kit.bus import Bus
from kit.db import Sessions, open_engine, open_sessions
from kit.inbox import Meta, Subscribers
from kit.outbox import emit
from kit.settings import ServiceSettings


class _Told(Event):
    TYPE: ClassVar[str] = "alpha.told.v1"
    number: int


class _Noted(Event):
    TYPE: ClassVar[str] = "beta.noted.v1"
    number: int


on_beta, on_alpha = Subscribers(), Subscribers()


@on_beta(_Told)
async def take_note(session: AsyncSession, told: _Told, meta: Meta) -> None:
    await session.execute(text("insert into effect values (:n)"), {"n": told.number})
    emit(session, _Noted(number=told.number), subject=meta.subject, version=1)


@on_alpha.many(_Noted)
async def hear_back(session: AsyncSession, batch: Sequence[tuple[_Noted, Meta]]) -> None:
    numbers = [{"n": noted.number} for noted, _ in batch]
    await session.execute(text("insert into heard values (:n)"), numbers)


async def start(name: str, url: str, nats: str, on: Subscribers) -> tuple[Sessions, Bus]:
    engine = open_engine(url)
    sessions = open_sessions(engine)
    settings = ServiceSettings(service=name, database_url=SecretStr(url), nats_url=nats)
    bus = Bus(settings, engine, sessions, on, ack_wait=1.0)
    await bus.start()
    return sessions, bus


async def at_rest(buses: list[Bus]) -> bool:
    for bus in buses:
        await bus.sample()
        if not bus.connected or bus.health()["unsent"]:
            return False
    for durable in ("beta__take_note", "alpha__hear_back"):
        info = await buses[0].broker.api(f"CONSUMER.INFO.EVENTS.{durable}")
        if info["num_pending"] or info["num_ack_pending"]:
            return False
    return True


async def main(alpha_url: str, beta_url: str, nats: str, count: int) -> None:
    alpha, alpha_bus = await start("alpha", alpha_url, nats, on_alpha)
    _, beta_bus = await start("beta", beta_url, nats, on_beta)
    async with alpha() as session:
        done = await session.scalar(text("select count(*) from effect")) or 0
    for number in range(done, count):
        async with alpha.begin() as session:
            await session.execute(text("insert into effect values (:n)"), {"n": number})
            emit(session, _Told(number=number), subject=f"n_{number}", version=1)
    rests = 0
    while rests < 3:
        await asyncio.sleep(0.1)
        rests = rests + 1 if await at_rest([alpha_bus, beta_bus]) else 0
    await beta_bus.stop()
    await alpha_bus.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
