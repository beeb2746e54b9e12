"""schemathesis against the whole platform, through the gateway, as every kind of caller.

From the merged OpenAPI it makes requests that fit and requests that do not, follows the links from
what was created, and holds every answer against the document: no 5xx, no undeclared status, type,
header or shape, nothing malformed taken, no missing sign-in overlooked, nothing used after its
end. `make test` runs a bounded part, the same one each time; `make fuzz` goes on for
BEAM_FUZZ_SECONDS a caller and writes what it found as JSON to BEAM_FUZZ_REPORT.
"""

import asyncio
import json
import os
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from .cast import Cast
from .doors import LI, ZHANG, door, mandate
from .fuzz import Ask, Headers, Told, run
from .reference import operations
from .story import Story, a_firm
from .test_bad_input import DANGEROUS, fitting

SECONDS = int(os.environ.get("BEAM_FUZZ_SECONDS", "60"))
REPORT = os.environ.get("BEAM_FUZZ_REPORT")
PHASES = "--phases=examples,coverage,fuzzing,stateful"
OF_THE_CAST = (
    "owner",
    "counter",
    "reviewer",
    "supervisor",
    "operator",
    "partner",
    "service",
    "helper",
    "nobody",
)
CALLERS = ("firm", "agent", *OF_THE_CAST, "bare")
FEWEST = 5_000
"""Requests of a whole `make fuzz`."""
SEED = "--seed=20261122"
ONE_THREAD = "--workers=1"
"""Python 3.11 may stumble when two threads parse its own code at once, as generators do."""
SAME_EACH_TIME = (SEED, "--generation-deterministic", ONE_THREAD)
TOLD: dict[str, Told] = {}
pytestmark = pytest.mark.slow


def headers(cast: Cast, caller: str) -> Headers:
    """With a fresh token. `helper` is the reviewer of a department that has a task in the case."""
    return cast.headers({"helper": "helping reviewer"}.get(caller, caller))


@asynccontextmanager
async def signed_in(cast: Cast) -> AsyncIterator[dict[str, Headers]]:
    """`firm`, its representative, and `agent`, under a mandate of its, who have just signed in."""
    async with door(cast, ZHANG, await a_firm(cast)) as firm:
        asked = {"name": "李四", "phone": LI}
        async with door(cast, LI, await mandate(cast, firm, asked, LI)) as agent:
            yield {
                "firm": {"authorization": f"Bearer {firm.token}"},
                "agent": {"authorization": f"Bearer {agent.token}"},
            }


def bare(cast: Cast) -> Headers:
    """Staff of no department, region or role."""
    unknown = cast.token("counter", sub="stf_unknown", roles=[], dept="", region="")
    return {"authorization": f"Bearer {unknown}"}


@pytest.fixture(scope="module")
async def callers(cast: Cast, story: Story) -> AsyncIterator[dict[str, Headers]]:
    """Caller → headers."""
    cast.owner = story.account_id
    async with signed_in(cast) as found:
        yield {**{name: headers(cast, name) for name in OF_THE_CAST}, **found, "bare": bare(cast)}


def ids_of(story: Story) -> dict[str, str]:
    """The story's ids but those whose end other tests would feel."""
    return {name: value for name, value in story.ids.items() if name != "account_id"}


def turn(of: str, every: int) -> int:
    """A number below `every` that depends on the word alone."""
    return zlib.crc32(of.encode()) % every


async def test_by_those_it_is_for(
    cast: Cast, story: Story, callers: dict[str, Headers], tmp_path: Path
) -> None:
    """Each operation as somebody whom it lets in, and on from what was created."""
    asks = {
        operation.name: Ask(
            callers[fitting(operation)],
            DANGEROUS.get(operation.name, {}),
            calm=turn(operation.name, 3) != 0,
        )
        for operation in operations()
    }
    told = await asyncio.to_thread(
        run, cast.place.gateway, tmp_path, ids_of(story), asks, PHASES, *SAME_EACH_TIME
    )
    assert not told.failures, told.output
    assert told.operations == len(asks)
    assert told.cases > 2_000


async def test_by_whoever_has_his_turn(
    cast: Cast, story: Story, callers: dict[str, Headers], tmp_path: Path
) -> None:
    """Each operation as one of all the kinds of callers, most of whom it refuses."""
    asks = {
        operation.name: Ask(
            callers[CALLERS[place % len(CALLERS)]], DANGEROUS.get(operation.name, {}), calm=True
        )
        for place, operation in enumerate(operations())
    }
    options = ("--phases=examples,fuzzing", *SAME_EACH_TIME)
    told = await asyncio.to_thread(run, cast.place.gateway, tmp_path, ids_of(story), asks, *options)
    assert not told.failures, told.output
    assert told.operations == len(asks)


@pytest.mark.long
@pytest.mark.parametrize("caller", CALLERS)
async def test_for_long(caller: str, cast: Cast, story: Story, tmp_path: Path) -> None:
    # A token lives for a quarter of an hour, and those before may have ended a sign-in or a
    # mandate: each comes anew.
    cast.owner = story.account_id
    async with AsyncExitStack() as stack:
        if caller in OF_THE_CAST:
            asks = headers(cast, caller)
        elif caller == "bare":
            asks = bare(cast)
        else:
            asks = (await stack.enter_async_context(signed_in(cast)))[caller]
        await _for_long(caller, asks, cast, story, tmp_path)


async def _for_long(caller: str, asks: Headers, cast: Cast, story: Story, tmp_path: Path) -> None:
    options = (PHASES, ONE_THREAD, f"--max-time={SECONDS}")
    told = TOLD[caller] = await asyncio.to_thread(
        run, cast.place.gateway, tmp_path, story.ids, asks, *options
    )
    print(f"{caller}: {told.cases} cases")  # summed up by `beam figures`
    assert not told.failures, told.output
    assert told.operations == len(operations())
    assert told.cases > told.operations


@pytest.mark.long
def test_the_whole_of_it() -> None:
    """As many requests as were promised; the report, whether or not there were failures."""
    if set(TOLD) != set(CALLERS):
        pytest.skip("not every caller had his turn")
    whole = {
        "seconds_a_caller": SECONDS,
        "cases": sum(told.cases for told in TOLD.values()),
        "failures": sum(sum(told.failures.values()) for told in TOLD.values()),
        "callers": {name: told.summary for name, told in TOLD.items()},
    }
    if REPORT:
        Path(REPORT).write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    assert whole["failures"] == 0
    assert sum(told.cases for told in TOLD.values()) >= FEWEST
