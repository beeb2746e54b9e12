"""SIGKILL at each named point: nothing lost, nothing doubled; and each planted bug is seen."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("program.py")
COUNT = 24


async def run(alpha, beta, nats: str, **environment: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, PROGRAM, alpha.url, beta.url, nats, str(COUNT),
        env={**os.environ, **environment},
    )  # fmt: skip
    return await process.wait()


async def killed_and_restarted(alpha, beta, nats: str, point: str, plant: str = "") -> None:
    code = await run(alpha, beta, nats, BEAM_CRASH=point, BEAM_PLANT=plant)
    assert code == -9, f"{point} was not passed"
    assert await run(alpha, beta, nats, BEAM_PLANT=plant) == 0


@pytest.mark.long
@pytest.mark.parametrize("point", ["r1:1", "r1:2", "r2:2", "r3:2", "c1:2", "c2:5", "c3:2", "c4:2"])
async def test_killed_at_a_point_nothing_is_lost_or_doubled(alpha, beta, nats, point):
    await killed_and_restarted(alpha, beta, nats, point)
    told = await alpha.effects()
    assert told == list(range(COUNT))
    assert await beta.effects() == told
    assert await alpha.column("select number from heard order by number") == told
    assert await beta.column("select count(*) from outbox") == [COUNT]
    assert await beta.column("select count(*) from inbox") == [COUNT]
    assert await beta.column("select count(*) from dead_letter") == [0]


@pytest.mark.long
@pytest.mark.parametrize(
    ("plant", "point", "found"),
    [
        ("mark_before_publish", "r1:2", "lost"),
        ("ack_first", "c2:5", "lost"),
        ("no_inbox", "c3:2", "doubled"),
    ],
)
async def test_a_planted_bug_is_seen(alpha, beta, nats, plant, point, found):
    await killed_and_restarted(alpha, beta, nats, point, plant)
    # Whichever of the two consumers was killed: what alpha hears back shows it.
    told = await alpha.effects()
    heard = await alpha.column("select number from heard")
    assert told == list(range(COUNT))
    if found == "lost":
        assert set(heard) < set(told)
    else:
        assert set(heard) == set(told)
        assert len(heard) > len(told)
