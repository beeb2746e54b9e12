"""Plays the journey: the order of the steps, what is told of each, what must hold at the end."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from . import steps
from .door import Failed
from .stage import Durable, Stage
from .steps import Journey, Step

TO_PAYMENT: tuple[Step, ...] = (
    steps.sign_in,
    steps.find_item,
    steps.open_draft,
    steps.fill_in,
    steps.submit,
    steps.accept,
    steps.review,
    steps.pay,
)
APPROVAL: tuple[Step, ...] = (
    *TO_PAYMENT,
    steps.decide,
    steps.show_licence,
    steps.courier,
    steps.rate,
)
REFUSAL: tuple[Step, ...] = (*TO_PAYMENT, steps.reject, steps.refunded)
REFUSED = [
    "case.submitted.v1",
    "case.accepted.v1",
    "case.fee_due.v1",
    "payment.created.v1",
    "payment.paid.v1",
    "case.decided.v1",
    "case.closed.v1",
    "payment.refunded.v1",
]


@dataclass
class Told:
    """What came of one step."""

    name: str
    title: str
    ok: bool
    result: str
    seconds: float


@dataclass
class Report:
    """What came of a whole journey; `ok` only if every assertion of every step held."""

    ok: bool = False
    case_id: str | None = None
    steps: list[Told] = field(default_factory=list)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


Watch = Callable[[Journey, str, str, Told | None], None]
"""Called with (journey, name, title, None) before a step and with what came of it after."""


def title_of(step: Step) -> str:
    return (step.__doc__ or step.__name__).strip().splitlines()[0]


async def play(
    stage: Stage,
    sequence: Sequence[Step],
    wanted: list[str],
    watch: Watch,
    lead: Durable | None = None,
    fire: Durable | None = None,
    *,
    pause: float = 0.0,
) -> Report:
    """Play the steps in order and stop at the first that fails. With two departments' durables
    given, what they and the feed saw is checked at the end. `pause`: seconds after each step."""
    journey, report, started = Journey(stage), Report(), time.perf_counter()
    every = [*sequence]
    if lead is not None and fire is not None:
        listening = (lead, fire)

        async def departments(journey: Journey) -> str:
            """部门持久订阅与交换流收到全部事件,互不可见"""
            return await steps.departments(journey, *listening, wanted)

        every.append(departments)
    for step in every:
        told = await _one(journey, step, watch)
        report.steps.append(told)
        if not told.ok:
            break
        await asyncio.sleep(pause)
    report.ok = len(report.steps) == len(every) and all(told.ok for told in report.steps)
    report.case_id = journey.facts.get("case_id")
    report.seconds = round(time.perf_counter() - started, 2)
    return report


async def _one(journey: Journey, step: Step, watch: Watch) -> Told:
    title, started = title_of(step), time.perf_counter()
    watch(journey, step.__name__, title, None)
    try:
        result, ok = await step(journey), True
    except Failed as failure:
        result, ok = str(failure), False
    told = Told(step.__name__, title, ok, result, round(time.perf_counter() - started, 2))
    watch(journey, step.__name__, title, told)
    return told
