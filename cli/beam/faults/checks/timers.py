"""Deadlines: each one fires once it is over, never before, never twice (I15)."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from kit.clock import city_day

from ..evidence import Evidence, Row
from .wrong import Lasting

GRACE = timedelta(seconds=90)
"""A timer that is over is found by a sweep; some run once a minute."""
_OPEN_ORDERS = {"created", "pending"}


def deadlines(evidence: Evidence) -> Iterator[str]:
    """By the database's clock: fees, invitations to rate, the clocks of cases."""
    yield from _fees(evidence)
    yield from _ratings(evidence)
    for case in evidence.rows("case", "case"):
        yield from _case(evidence, case)


def _now(evidence: Evidence, service: str) -> datetime:
    moment: datetime = evidence.rows(service, "moment")[0]["now"]
    return moment


def _fees(evidence: Evidence) -> Iterator[str]:
    expired = Counter(event.subject for event in evidence.events("payment.expired.v1"))
    now = _now(evidence, "payment")
    for order in evidence.rows("payment", "payment_order"):
        over = now - order["expires_at"]
        if order["state"] in _OPEN_ORDERS and over > GRACE:
            yield f"{order['id']} should have expired {over.total_seconds():.0f} s ago"
        if order["state"] == "expired" and over < -GRACE:
            yield Lasting(f"{order['id']} expired before its time")
        if expired[order["id"]] != (order["state"] == "expired"):
            yield Lasting(
                f"{order['id']} is {order['state']}, expired {expired[order['id']]} times"
            )


def _ratings(evidence: Evidence) -> Iterator[str]:
    today = city_day(_now(evidence, "helpdesk"))
    for rating in evidence.rows("helpdesk", "rating"):
        if rating["state"] == "invited" and rating["due"] < today - timedelta(days=1):
            yield f"{rating['id']} should have lapsed on {rating['due']}"
        if rating["state"] == "lapsed" and rating["due"] >= today + timedelta(days=1):
            yield Lasting(f"{rating['id']} lapsed before its time")


def _case(evidence: Evidence, case: Row) -> Iterator[str]:
    """The lawful clock: it runs from acceptance to decision and stands while a correction is
    open."""
    told = {event.type for event in evidence.told if event.subject == case["id"]}
    id_, started, stopped = case["id"], case["accepted_on"], case["decided_on"]
    if (started is not None) != ("case.accepted.v1" in told):
        yield Lasting(f"the clock of {id_} started on {started}, its story says otherwise")
    if (stopped is not None) != (case["outcome"] in ("approved", "rejected")):
        yield Lasting(f"the clock of {id_} stopped on {stopped}, its outcome is {case['outcome']}")
    if started and stopped and stopped < started:
        yield Lasting(f"the clock of {id_} ran backwards")
    pauses = [p for p in evidence.rows("case", "pause") if p["case_id"] == id_]
    asked = [e for e in evidence.told if e.subject == id_ and e.type == _ASKED]
    answered = [e for e in evidence.told if e.subject == id_ and e.type == _ANSWERED]
    if len(pauses) > len(asked) or (asked and not pauses):
        yield Lasting(f"the clock of {id_} paused {len(pauses)} times for {len(asked)} corrections")
    for pause in pauses:
        if pause["ended_on"] is None and answered and case["state"] != "correcting":
            yield Lasting(f"the clock of {id_} still stands, the correction was answered")
        if started and pause["started_on"] < started:
            yield Lasting(f"the clock of {id_} paused before it started")
        if pause["ended_on"] is not None and pause["ended_on"] < pause["started_on"]:
            yield Lasting(f"a pause of {id_} ended before it began")


_ASKED, _ANSWERED = "case.correction_requested.v1", "case.corrected.v1"
