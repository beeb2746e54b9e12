"""The invariants. Each check looks at the evidence and yields what is wrong, a sentence each.

What may still come right by itself, as an event on its way does, is a plain sentence; what can
never come right is `Lasting`, so that nobody waits for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from ..evidence import Evidence
from . import answers, departments, effects, events, money, pending, states
from .wrong import Lasting

Check = Callable[[Evidence], Iterator[str]]

CHECKS: dict[str, Check] = {
    "accepted": answers.accepted,
    "same_key_same_answer": answers.same_key_same_answer,
    "one_charge": money.one_charge,
    "paid_agrees": money.paid_agrees,
    "ledger_balanced": money.ledger_balanced,
    "refunds_within_paid": money.refunds_within_paid,
    "outbox_sent": events.outbox_sent,
    "handled_once": events.handled_once,
    "feed_complete": events.feed_complete,
    "versions": events.versions,
    "one_effect": effects.one_effect,
    "transitions": states.transitions,
    "timeline": states.timeline,
    "nothing_pending": pending.nothing_pending,
    "departments": departments.departments,
}


@dataclass(frozen=True)
class Violation:
    """What a check found. `lasting`: waiting will not mend it."""

    check: str
    what: str
    lasting: bool

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def examine(evidence: Evidence) -> list[Violation]:
    """All checks, in order."""
    return [
        Violation(name, str(what), isinstance(what, Lasting))
        for name, check in CHECKS.items()
        for what in check(evidence)
    ]
