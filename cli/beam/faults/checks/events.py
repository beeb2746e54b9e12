"""Events: sent, kept in the feed, handled by every consumer exactly once (I10, I11, I12)."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ...programs import SERVICES
from ..evidence import Evidence
from .wrong import Lasting

_VERSIONED = {
    "case": ("case", "case"),
    "task": ("case", "task"),
    "pay": ("payment", "payment_order"),
    "ship": ("logistics", "shipment"),
    "rating": ("helpdesk", "rating"),
    "pres": ("licence", "presentation"),
}


@cache
def listeners() -> list[tuple[str, str, str | None]]:
    """(service, durable, event type or None for all) of every handler of the platform."""
    found = []
    for program in SERVICES:
        if find_spec(f"{program.package}.subscribers") is None:
            continue
        module: Any = import_module(f"{program.package}.subscribers")
        for each in module.on.subscriptions:
            type_ = each.event_type.TYPE if each.event_type else None
            found.append((program.name, each.durable(program.name), type_))
    return found


def outbox_sent(evidence: Evidence) -> Iterator[str]:
    """No event waits in an outbox."""
    for event in evidence.told:
        if not event.sent:
            yield f"{event.type} of {event.subject} was never sent"


def handled_once(evidence: Evidence) -> Iterator[str]:
    """Each event is in the inbox of each of its consumers, nothing else is, and nothing died."""
    known = {event.id for event in evidence.told}
    for service, durable, type_ in listeners():
        seen = Counter(
            str(row["event_id"])
            for row in evidence.rows(service, "inbox")
            if row["consumer"] == durable
        )
        for event in evidence.told:
            if type_ in (None, event.type) and not seen[event.id]:
                yield f"{durable} never handled {event.type} of {event.subject}"
        for strange in seen.keys() - known:
            yield Lasting(f"{durable} handled the event {strange}, which nobody emitted")
    for service, tables in evidence.databases.items():
        for letter in tables.get("dead_letter", []):
            if letter["died_at"] is not None and letter["replayed_at"] is None:
                yield Lasting(f"a dead letter in {service}: {letter['error_class']}")


def feed_complete(evidence: Evidence) -> Iterator[str]:
    """The feed holds every event once, as it was told, and no other."""
    told = {event.id: event for event in evidence.told}
    feed = Counter(row["event_id"] for row in evidence.rows("exchange", "feed_entry"))
    for id_ in told.keys() - feed.keys():
        yield f"the feed lacks {told[id_].type} of {told[id_].subject}"
    for row in evidence.rows("exchange", "feed_entry"):
        event = told.get(row["event_id"])
        if event is None:
            yield Lasting(f"the feed has {row['type']} of {row['subject']}, which nobody emitted")
        elif (event.type, event.subject, event.dept) != (row["type"], row["subject"], row["dept"]):
            yield Lasting(f"the feed tells {row['type']} of {row['subject']} differently")
    for id_, count in feed.items():
        if count > 1:
            yield Lasting(f"the feed has the event {id_} {count} times")


def versions(evidence: Evidence) -> Iterator[str]:
    """A version of a thing is told once, and never one that the thing has not reached."""
    # A case that ends is told with two events of two versions; no event shares its version.
    seen = Counter((event.subject, event.version) for event in evidence.told)
    for (subject, version), count in seen.items():
        if count > 1:
            yield Lasting(f"version {version} of {subject} was told {count} times")
    reached: Counter[str] = Counter()
    for event in evidence.told:
        reached[event.subject] = max(reached[event.subject], event.version)
    for prefix, where in _VERSIONED.items():
        stored = {row["id"]: row["version"] for row in evidence.rows(*where)}
        for subject, version in reached.items():
            if subject.startswith(f"{prefix}_") and stored.get(subject, 0) < version:
                yield Lasting(f"{subject} told its version {version}, it has {stored.get(subject)}")
