"""States move only along the declared edges, and the story of a case is whole (I9)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from kit.states import Transitions

from ..evidence import Evidence, Row
from .wrong import Lasting

# Table, where its edges are declared, its first state.
_MACHINES = (
    ("case", "case", "case_svc", "CASE_TRANSITIONS", "draft"),
    ("case", "task", "case_svc", "TASK_TRANSITIONS", "pending"),
    ("payment", "payment_order", "payment_svc", "ORDER_TRANSITIONS", "created"),
    ("logistics", "shipment", "logistics_svc", "SHIPMENT_TRANSITIONS", "draft"),
    ("helpdesk", "rating", "helpdesk_svc", "RATING", "invited"),
    ("licence", "presentation", "licence_svc", "PRESENTATION", "ready"),
)

_LATE = {"logistics.shipment_picked_up.v1"}
"""Told once even when a later step of the carrier overtook it: then nothing moves."""


def _edges(package: str, name: str) -> Transitions:
    found: Transitions = getattr(import_module(f"{package}.models"), name)
    return found


def _silent(states: set[str], edges: Transitions) -> set[str]:
    """The states, and those that can be reached without an event."""
    grown = states
    while True:
        more = {to for (source, _), (to, event) in edges.items() if source in grown and not event}
        if more <= grown:
            return grown
        grown = grown | more


def walks(edges: Transitions, first: str, kinds: Sequence[str], last: str) -> bool:
    """Whether some way along the edges from `first` to `last` emits exactly these events."""
    here = _silent({first}, edges)
    for kind in kinds:
        here = {
            to
            for (source, _), (to, event) in edges.items()
            if source in here and event is not None and kind == event.TYPE
        }
        here = _silent(here, edges)
    return last in here


def transitions(evidence: Evidence) -> Iterator[str]:
    """What each thing told, in the order of its versions, is a way along its edges that ends
    where it stands."""
    told: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for event in evidence.told:
        told[event.subject].append((event.version, event.type))
    suspended = {
        row["order_id"]
        for row in evidence.rows("payment", "charge")
        if row["account"] == "suspense"
    }
    for service, table, package, name, first in _MACHINES:
        edges = _edges(package, name)
        declared = {event.TYPE for _, event in edges.values() if event is not None}
        for row in evidence.rows(service, table):
            if row["id"] in suspended:
                continue  # money that came too late is given back without a move of its order
            kinds = [kind for _, kind in sorted(told[row["id"]]) if kind in declared]
            moves = [kind for kind in kinds if kind not in _LATE]
            if not any(walks(edges, first, way, row["state"]) for way in (kinds, moves)):
                yield Lasting(f"{row['id']} is {row['state']} after {kinds}")


def timeline(evidence: Evidence) -> Iterator[str]:
    """Each case's chain is intact, goes from state to state along the edges, and each of its
    moves with an event told exactly that event."""
    edges = _edges("case_svc", "CASE_TRANSITIONS")
    broken_at: Any = import_module("case_svc.timeline").broken_at
    told = {(event.subject, event.version): event.type for event in evidence.told}
    entries: dict[str, list[Row]] = defaultdict(list)
    for entry in evidence.rows("case", "timeline_entry"):
        entries[entry["case_id"]].append(entry)
    for case in evidence.rows("case", "case"):
        of_case = _in_chain(entries[case["id"]])
        if len(of_case) != len(entries[case["id"]]) or broken_at(
            [SimpleNamespace(**entry) for entry in of_case], case["timeline_head"]
        ):
            yield Lasting(f"the chain of {case['id']} is broken")
            continue
        state = "draft"
        for entry in of_case:
            edge = edges.get((entry["from_state"], entry["action"]))
            moved = edge is not None and edge[0] == entry["to_state"]
            if entry["from_state"] != state or not (moved or entry["to_state"] == state):
                yield Lasting(f"{case['id']} jumped from {state} to {entry['to_state']}")
            state = entry["to_state"]
            if moved and edge is not None and edge[1] is not None:
                kind = told.get((case["id"], entry["case_version"]))
                if kind != edge[1].TYPE:
                    yield Lasting(f"{case['id']} did {entry['action']} and told {kind}")
        if state != case["state"]:
            yield Lasting(f"{case['id']} is {case['state']}, its story ends in {state}")


def _in_chain(entries: Sequence[Row]) -> list[Row]:
    """In the order of the chain, as far as it reaches: ids of one millisecond have no order."""
    after = {entry["previous"]: entry for entry in entries}
    chain: list[Row] = []
    here = ""
    while here in after:
        chain.append(after.pop(here))
        here = chain[-1]["hash"]
    return chain
