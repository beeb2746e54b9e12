"""The main journey and its refusal, through the public API and events only."""

import asyncio

import pytest

from beam.journey.play import APPROVAL, REFUSAL, REFUSED, Told, play
from beam.journey.stage import Durable, Place, Stage
from beam.journey.steps import APPROVED, Journey


def quiet(journey: Journey, name: str, title: str, told: Told | None) -> None:
    return None


@pytest.mark.parametrize(
    ("sequence", "wanted"),
    [(APPROVAL, APPROVED), (REFUSAL, REFUSED)],
    ids=["approved", "refused_and_refunded"],
)
async def test_journey(platform: Place, sequence, wanted) -> None:  # type: ignore[no-untyped-def]
    stage = Stage(platform)
    async with (
        Durable(platform.partners["SAMR-demo"]) as lead,
        Durable(platform.partners["FIRE-demo"]) as f,
    ):
        try:
            report = await play(stage, sequence, wanted, quiet, lead, f)
        finally:
            await stage.close()
    assert report.ok, report.steps[-1].result


async def test_many_journeys_at_once(platform: Place) -> None:
    """Ten people at the same counter: nobody waits on anybody's row for ever, nothing mixes."""

    async def one() -> str:
        stage = Stage(platform)
        try:
            report = await play(stage, APPROVAL, APPROVED, quiet)
        finally:
            await stage.close()
        assert report.ok, report.steps[-1].result
        assert report.case_id is not None
        return report.case_id

    cases = await asyncio.gather(*(one() for _ in range(10)))
    assert len(set(cases)) == 10
