"""After quiet nothing waits for anything (I12), and every journey came to the end it was to."""

from collections.abc import Iterator

from ..evidence import Evidence

_WAITS = {
    ("payment", "attempt"): {"new", "submitted", "unknown"},
    ("payment", "refund"): {"created", "submitted", "error"},
    ("licence", "licence_order"): {"due"},
    ("logistics", "shipment"): {"draft", "failed"},
}


def nothing_pending(evidence: Evidence) -> Iterator[str]:
    """Nothing stands in a state that it leaves by itself, and cases stand where they should."""
    for where, waiting in _WAITS.items():
        for row in evidence.rows(*where):
            if row["state"] in waiting:
                yield f"{row['id']} still is {row['state']}"
    cases = {row["id"]: row for row in evidence.rows("case", "case")}
    orders = {row["case_id"]: row for row in evidence.rows("payment", "payment_order")}
    for case_id, wish in evidence.wishes.items():
        if case_id not in cases or cases[case_id]["state"] != "closed":
            stands = cases[case_id]["state"] if case_id in cases else "nowhere"
            yield f"{case_id} never closed, it is {stands}"
        paid = orders[case_id]["state"] if case_id in orders else "absent"
        if paid != ("paid" if wish == "approved" else "refunded"):
            yield f"the fee of {case_id} is {paid}, the case was {wish}"
