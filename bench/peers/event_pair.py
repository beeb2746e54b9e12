"""Two toy services on our kit: one tells numbers on demand, the other keeps how late they came.

`python -m bench.peers.event_pair tell|hear DSN NATS`. Orders come by NOTIFY on `bench_order`:
`steady RATE COUNT` (one commit each) or `flood 0 COUNT` (fifty a commit).
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import ClassVar

import asyncpg
import uvloop
from pydantic import SecretStr
from sqlalchemy import BigInteger, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from contracts.event import Event
from kit import collector
from kit.bus import Bus
from kit.db import ServiceBase, new_metadata, open_engine, open_sessions
from kit.inbox import Meta, Subscribers
from kit.outbox import emit
from kit.settings import ServiceSettings

A_COMMIT = 50


class Said(Event):
    """For the benchmark only."""

    TYPE: ClassVar[str] = "tell.said.v1"
    at_us: int


class Base(ServiceBase):
    metadata = new_metadata()


class Heard(Base):
    __tablename__ = "heard"
    event_id: Mapped[str] = mapped_column(primary_key=True)
    at_us: Mapped[int] = mapped_column(BigInteger)
    delay_us: Mapped[int] = mapped_column(BigInteger)


_KEEP = text("""
insert into heard (event_id, at_us, delay_us)
select id, :now, delay from unnest(cast(:ids as text[]), cast(:delays as bigint[])) as u(id, delay)
""")
on = Subscribers()


def _clock() -> int:
    """One clock for all processes of a machine, in microseconds."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@on.many(Said)
async def keep(session: AsyncSession, batch: Sequence[tuple[Said, Meta]]) -> None:
    """As the feed of exchange-svc does it: what waits together, one statement."""
    now = _clock()
    columns = {
        "ids": [str(meta.id) for _, meta in batch],
        "delays": [now - said.at_us for said, _ in batch],
        "now": now,
    }
    await session.execute(_KEEP, columns)


async def main(part: str, dsn: str, nats: str) -> None:
    engine = open_engine(dsn.replace("postgresql://", "postgresql+asyncpg://", 1), pool=10)
    sessions = open_sessions(engine)
    settings = ServiceSettings(service=part, database_url=SecretStr(dsn), nats_url=nats)
    bus = Bus(settings, engine, sessions, on if part == "hear" else Subscribers())
    await bus.start()
    collector.quieten()
    print("ready", flush=True)
    if part == "hear":
        await asyncio.Event().wait()
    orders: asyncio.Queue[str] = asyncio.Queue()
    listening = await asyncpg.connect(dsn)
    await listening.add_listener("bench_order", lambda *note: orders.put_nowait(note[3]))
    while True:
        how, rate, count = (await orders.get()).split()
        each = A_COMMIT if how == "flood" else 1
        began = time.monotonic()
        for number in range(0, int(count), each):
            async with sessions.begin() as session:
                for _ in range(each):
                    emit(session, Said(at_us=_clock()), subject=f"s_{number}", version=1)
            if how == "steady":
                await asyncio.sleep(max(0.0, began + (number + 1) / int(rate) - time.monotonic()))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
