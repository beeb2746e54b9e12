"""Each check is silent about what went well and finds what went wrong: the same evidence, with
one thing in it changed."""

import copy
import dataclasses
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from beam.faults.checks import CHECKS, INVARIANTS, examine
from beam.faults.checks.states import walks
from beam.faults.evidence import Evidence
from kit.seals import words
from kit.seals.checks import Finding
from payment_svc.models import ORDER_TRANSITIONS

Tamper = Callable[[Evidence], object]
TAMPERS: list[tuple[str, str, Tamper]] = []


def wrong(check: str) -> Callable[[Tamper], Tamper]:
    def register(tamper: Tamper) -> Tamper:
        TAMPERS.append((check, tamper.__name__, tamper))
        return tamper

    return register


def row(e: Evidence, service: str, table: str, **where: Any) -> dict[str, Any]:
    found = next(
        r for r in e.rows(service, table) if all(r[name] == value for name, value in where.items())
    )
    assert isinstance(found, dict)
    return found


@wrong("accepted")
def a_stored_answer_is_lost(e: Evidence) -> None:
    e.databases["case"]["idempotency_key"].pop()


@wrong("accepted")
def an_answered_case_is_lost(e: Evidence) -> None:
    e.databases["case"]["case"].pop()


@wrong("accepted")
def an_answered_attempt_is_lost(e: Evidence) -> None:
    e.databases["payment"]["attempt"].clear()


@wrong("answers_fit")
def another_case_was_shown(e: Evidence) -> None:
    shown = next(a for a in e.answers if a.method == "GET" and a.path.startswith("/v1/cases/case_"))
    other = dataclasses.replace(shown, body={**shown.body, "id": "case_of_somebody_else"})
    e.answers = [*e.answers, other]


@wrong("same_key_same_answer")
def a_key_had_two_answers(e: Evidence) -> None:
    stored = next(a for a in e.answers if a.key and a.path.endswith("/submit"))
    e.answers = [*e.answers, dataclasses.replace(stored, digest="another")]


@wrong("one_charge")
def the_payer_paid_twice(e: Evidence) -> None:
    paid = {r["transaction_id"] for r in e.wechat["refunds"]}
    once = next(p for p in e.wechat["payments"] if p["transaction_id"] not in paid)
    e.wechat["payments"].append({**once, "transaction_id": "again"})


@wrong("one_charge")
def a_foreign_order_at_the_channel(e: Evidence) -> None:
    e.wechat["orders"].append({**e.wechat["orders"][0], "out_trade_no": "unknown"})


@wrong("paid_agrees")
def another_amount_was_paid(e: Evidence) -> None:
    e.wechat["payments"][0] = {**e.wechat["payments"][0], "total": 4999}


@wrong("paid_agrees")
def believed_unpaid(e: Evidence) -> None:
    row(e, "payment", "payment_order", state="paid")["state"] = "pending"


@wrong("ledger_balanced")
def a_leg_is_missing(e: Evidence) -> None:
    e.databases["payment"]["ledger_entry"].pop()


@wrong("ledger_balanced")
def a_fen_is_missing(e: Evidence) -> None:
    e.databases["payment"]["ledger_entry"][0]["amount_fen"] -= 1  # type: ignore[index]


@wrong("refunds_within_paid")
def a_refund_nobody_made(e: Evidence) -> None:
    e.wechat["refunds"].clear()


@wrong("refunds_within_paid")
def refunded_twice(e: Evidence) -> None:
    refund = e.databases["payment"]["refund"][0]
    e.databases["payment"]["refund"].append({**refund, "id": "ref_again"})


@wrong("outbox_sent")
def an_event_waits(e: Evidence) -> None:
    e.databases["case"]["outbox"][0]["sent_at"] = None  # type: ignore[index]


@wrong("handled_once")
def an_event_was_not_handled(e: Evidence) -> None:
    e.databases["payment"]["inbox"].pop()


@wrong("handled_once")
def an_event_died(e: Evidence) -> None:
    letter = {"error_class": "ValueError", "died_at": "now", "replayed_at": None}
    e.databases["licence"]["dead_letter"].append(letter)


@wrong("feed_complete")
def the_feed_has_a_hole(e: Evidence) -> None:
    e.databases["exchange"]["feed_entry"].pop(3)


@wrong("feed_complete")
def the_feed_has_a_stranger(e: Evidence) -> None:
    entry = e.databases["exchange"]["feed_entry"][0]
    e.databases["exchange"]["feed_entry"].append({**entry, "event_id": "forged"})


@wrong("versions")
def a_version_was_told_twice(e: Evidence) -> None:
    event = e.databases["case"]["outbox"][0]
    e.databases["case"]["outbox"].append({**event, "id": "another"})


@wrong("versions")
def a_case_fell_back(e: Evidence) -> None:
    row(e, "case", "case", outcome="approved")["version"] = 2


@wrong("one_effect")
def two_licences_for_one_case(e: Evidence) -> None:
    licence = next(r for r in e.rows("licence", "licence") if r["case_id"])
    e.databases["licence"]["licence"].append({**licence, "id": "lic_again"})


@wrong("one_effect")
def two_orders_at_the_carrier(e: Evidence) -> None:
    e.sf["orders"].append({**e.sf["orders"][0], "order_id": "again"})


@wrong("one_effect")
def no_rating(e: Evidence) -> None:
    e.databases["helpdesk"]["rating"].pop()


@wrong("transitions")
def a_state_without_its_way(e: Evidence) -> None:
    row(e, "helpdesk", "rating", state="rated")["state"] = "invited"


@wrong("timeline")
def the_story_was_edited(e: Evidence) -> None:
    row(e, "case", "timeline_entry", action="accept")["actor"] = "somebody"


@wrong("timeline")
def the_end_of_the_story_was_cut_off(e: Evidence) -> None:
    e.databases["case"]["timeline_entry"].pop()


@wrong("nothing_pending")
def a_refund_waits(e: Evidence) -> None:
    row(e, "payment", "refund", state="succeeded")["state"] = "submitted"


@wrong("nothing_pending")
def a_case_never_closed(e: Evidence) -> None:
    row(e, "case", "case", outcome="approved")["state"] = "delivering"


@wrong("departments")
def a_department_missed_something(e: Evidence) -> None:
    e.heard["SAMR"] = e.heard["SAMR"][1:]


@wrong("departments")
def a_department_heard_a_stranger(e: Evidence) -> None:
    e.heard["FIRE"].append(e.heard["SAMR"][0])


@wrong("departments")
def an_event_of_no_department(e: Evidence) -> None:
    event = e.databases["payment"]["outbox"][0]
    assert isinstance(event, dict)
    event["body"] = json.dumps({**json.loads(event["body"]), "dept": "_"})


@wrong("append_only")
def the_ledger_may_be_edited(e: Evidence) -> None:
    row(e, "payment", "rights", relname="ledger_entry")["rights"] = ["update"]


@wrong("channel_statement")
def the_statement_says_less(e: Evidence) -> None:
    e.wechat["payments"].pop()


@wrong("staff_trail")
def a_line_of_the_trail_is_gone(e: Evidence) -> None:
    e.databases["case"]["staff_action"].clear()


@wrong("sealed")
def a_sealed_line_was_edited(e: Evidence) -> None:
    found = Finding("case", "edited", 1, "staff_action", "act_1")
    e.databases["case"]["unfit"] = [{"what": words.told(found)[1]}]


@wrong("sealed")
def a_line_never_got_its_seal(e: Evidence) -> None:
    e.databases["case"]["unsealed"] = [{"id": "act_1"}]


@wrong("deadlines")
def a_fee_never_expired(e: Evidence) -> None:
    order = row(e, "payment", "payment_order", state="paid")
    order["state"] = "pending"
    order["expires_at"] -= timedelta(days=8)


@wrong("deadlines")
def a_rating_lapsed_too_early(e: Evidence) -> None:
    e.databases["helpdesk"]["rating"][0]["state"] = "lapsed"  # type: ignore[index]


@wrong("deadlines")
def a_clock_was_never_stopped(e: Evidence) -> None:
    row(e, "case", "case", outcome="approved")["decided_on"] = None


@wrong("deadlines")
def a_clock_went_on_after_a_correction_was_asked_for(e: Evidence) -> None:
    e.databases["case"]["pause"].clear()


@wrong("licence_status")
def a_revocation_nobody_sees(e: Evidence) -> None:
    row(e, "licence", "licence", state="active")["state"] = "revoked"


def of(e: Evidence) -> Evidence:
    """A copy whose derived values are computed anew."""
    return Evidence(**{f.name: copy.deepcopy(getattr(e, f.name)) for f in dataclasses.fields(e)})


async def test_calm_is_calm(calm: Evidence) -> None:
    assert examine(calm) == []
    assert len(calm.told) > 30
    assert calm.answers


@pytest.mark.parametrize(("check", "name", "tamper"), TAMPERS, ids=[t[1] for t in TAMPERS])
async def test_found(calm: Evidence, check: str, name: str, tamper: Tamper) -> None:
    changed = of(calm)
    tamper(changed)
    assert check in {violation.check for violation in examine(changed)}


def test_every_check_has_something_to_find() -> None:
    assert {check for check, _, _ in TAMPERS} == set(CHECKS)


def test_every_invariant_has_its_checks() -> None:
    assert list(INVARIANTS) == [f"I{n}" for n in range(1, 17)]
    assert sorted(check for _, checks in INVARIANTS.values() for check in checks) == sorted(CHECKS)


def test_a_way_through_the_states() -> None:
    paid, back = "payment.paid.v1", "payment.refunded.v1"
    assert walks(ORDER_TRANSITIONS, "created", [], "pending")
    assert walks(ORDER_TRANSITIONS, "created", [paid, back], "refunded")
    assert not walks(ORDER_TRANSITIONS, "created", [back, paid], "refunded")
    assert not walks(ORDER_TRANSITIONS, "created", [], "paid")
    assert not walks(ORDER_TRANSITIONS, "created", [paid, paid], "paid")
