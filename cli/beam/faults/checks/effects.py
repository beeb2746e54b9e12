"""One fact, one effect, across services: one order a fee, one licence a case, one parcel a
licence, one rating a handling (I10)."""

from collections import Counter
from collections.abc import Iterable, Iterator

from ..evidence import Evidence
from .wrong import Lasting


def _pairs(what: str, causes: Iterable[str], effects: Iterable[str]) -> Iterator[str]:
    wanted, there = Counter(causes), Counter(effects)
    for key in wanted.keys() | there.keys():
        if there[key] > 1:
            yield Lasting(f"{there[key]} {what} for {key}")
        elif there[key] > wanted[key]:
            yield Lasting(f"{what} for {key}, which was never due")
        elif there[key] < wanted[key]:
            yield f"no {what} for {key}"


def one_effect(evidence: Evidence) -> Iterator[str]:
    """Causes and effects in pairs."""
    rows = evidence.rows
    decided = evidence.events("case.decided.v1")
    yield from _pairs(
        "payment order",
        (event.data["case_id"] for event in evidence.events("case.fee_due.v1")),
        (row["case_id"] for row in rows("payment", "payment_order")),
    )
    yield from _pairs(
        "licence",
        (
            event.data["case_id"]
            for event in decided
            if event.data["outcome"] == "approved" and event.data["licence_type"]
        ),
        (row["case_id"] for row in rows("licence", "licence") if row["case_id"]),
    )
    yield from _pairs(
        "shipment",
        (
            event.data["licence_id"]
            for event in evidence.events("licence.issued.v1")
            if event.data["delivery"] == "courier"
        ),
        (row["licence_id"] for row in rows("logistics", "shipment")),
    )
    yield from _pairs(
        "order at the carrier",
        (row["id"] for row in rows("logistics", "shipment")),
        (row["order_id"] for row in evidence.sf["orders"]),
    )
    yield from _pairs(
        "rating",
        (
            event.data["case_id"]
            for event in evidence.events("case.closed.v1")
            if event.data["outcome"] != "withdrawn"
        ),
        (row["case_id"] for row in rows("helpdesk", "rating")),
    )
    yield from _pairs(
        "refund",
        (
            event.data["case_id"]
            for event in decided
            if event.data["outcome"] == "rejected" and event.data["case_id"] in _paid(evidence)
        ),
        (event.data["case_id"] for event in evidence.events("payment.refunded.v1")),
    )


def _paid(evidence: Evidence) -> set[str]:
    return {event.data["case_id"] for event in evidence.events("payment.paid.v1")}
