"""The invariants. Each check looks at the evidence and yields what is wrong, a sentence each.

What may still come right by itself, as an event on its way does, is a plain sentence; what can
never come right is `Lasting`, so that nobody waits for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from ..evidence import Evidence
from . import (
    answers,
    departments,
    effects,
    events,
    licences,
    money,
    pending,
    rights,
    states,
    timers,
)
from .wrong import Lasting

Check = Callable[[Evidence], Iterator[str]]

CHECKS: dict[str, Check] = {
    "accepted": answers.accepted,
    "answers_fit": answers.answers_fit,
    "same_key_same_answer": answers.same_key_same_answer,
    "one_charge": money.one_charge,
    "paid_agrees": money.paid_agrees,
    "ledger_balanced": money.ledger_balanced,
    "append_only": rights.append_only,
    "channel_statement": money.channel_statement,
    "refunds_within_paid": money.refunds_within_paid,
    "transitions": states.transitions,
    "one_effect": effects.one_effect,
    "handled_once": events.handled_once,
    "feed_complete": events.feed_complete,
    "versions": events.versions,
    "outbox_sent": events.outbox_sent,
    "nothing_pending": pending.nothing_pending,
    "timeline": states.timeline,
    "staff_trail": rights.staff_trail,
    "sealed": rights.sealed,
    "departments": departments.departments,
    "deadlines": timers.deadlines,
    "licence_status": licences.licence_status,
}

INVARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "I1": (
        "what was answered with success exists, and is what was asked for",
        ("accepted", "answers_fit"),
    ),
    "I2": ("the same key has the same answer and one effect", ("same_key_same_answer",)),
    "I3": ("at most one live charge a fee, by the channel's book", ("one_charge",)),
    "I4": ("paid there if and only if paid here, the same amount", ("paid_agrees",)),
    "I5": ("each booking has two legs or more that balance", ("ledger_balanced",)),
    "I6": ("ledger, trail and story can only be added to", ("append_only",)),
    "I7": ("the channel's account says what its statement says", ("channel_statement",)),
    "I8": ("refunds within what was paid", ("refunds_within_paid",)),
    "I9": ("states move only along the declared edges", ("transitions",)),
    "I10": (
        "one cause, one effect: event, outbox row, inbox of each consumer",
        ("one_effect", "handled_once", "feed_complete"),
    ),
    "I11": ("versions of a thing without repetition or going back", ("versions",)),
    "I12": ("after quiet nothing waits", ("outbox_sent", "nothing_pending")),
    "I13": (
        "the story of a case and the staff's trail are whole, and sealed",
        ("timeline", "staff_trail", "sealed"),
    ),
    "I14": ("departments hear theirs and nothing else", ("departments",)),
    "I15": ("deadlines fire once, never early", ("deadlines",)),
    "I16": ("licences are good as long as nobody revoked them", ("licence_status",)),
}
"""Number → what must hold, and the checks that look."""


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
