"""A case from draft to closed, over its routes, with its rights and its refusals."""

import asyncio
from datetime import timedelta
from typing import Any

from sqlalchemy import select, text

from case_svc import clocks, decisions, timeline
from case_svc.models import Case, TimelineEntry
from contracts.event import Envelope
from kit.clock import WorkCalendar
from kit.outbox import Outbox
from kit.testing import Ground, Running, key

PDF = b"%PDF-1.4 test"
FORM = {"shop_name": "浦江风味", "area": 88.5}


async def draft(case: Running, ground: Ground, who: str, item: str = "A05") -> dict[str, Any]:
    answer = await case.client.post(
        "/v1/cases", json={"item_code": item}, headers={**ground.person(who), **key()}
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def submitted(
    case: Running, ground: Ground, who: str, item: str = "A05", delivery: str = "none"
) -> dict[str, Any]:
    made = await draft(case, ground, who, item)
    me, path = ground.person(who), f"/v1/cases/{made['id']}"
    change: dict[str, Any] = {"form": FORM, "delivery": delivery}
    if delivery == "courier":
        change["address_id"] = "addr_" + "0" * 32
    saved = await case.client.patch(path, json=change, headers={**me, "if-match": '"1"'})
    assert saved.status_code == 200, saved.text
    slot = next(s for s in made["materials"] if s["material_id"] == "RULES")
    put = await case.client.put(f"{path}/materials/{slot['id']}", content=PDF, headers=me)
    assert put.status_code == 200, put.text
    answer = await case.client.post(f"{path}/submit", headers=me)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def in_review(case: Running, ground: Ground, who: str, **options: Any) -> dict[str, Any]:
    made = await submitted(case, ground, who, **options)
    answer = await case.client.post(
        f"/v1/cases/{made['id']}/accept", headers=ground.staff("counter", "SAMR")
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def decide_tasks(case: Running, ground: Ground, made: dict[str, Any]) -> dict[str, Any]:
    for task in made["tasks"]:
        desk = ground.staff("reviewer", task["dept"], subject=f"stf_{task['dept']}")
        claimed = await case.client.post(f"/v1/tasks/{task['id']}/claim", headers=desk)
        assert claimed.status_code == 200, claimed.text
        body = {"outcome": "approved", "opinion": "同意"}
        done = await case.client.post(f"/v1/tasks/{task['id']}/decide", json=body, headers=desk)
        assert done.status_code == 200, done.text
    answer = await case.client.get(
        f"/v1/cases/{made['id']}", headers=ground.staff("reviewer", "SAMR")
    )
    return dict(answer.json())


async def emitted(case: Running, case_id: str) -> list[Envelope]:
    async with case.runtime.sessions() as session:
        bodies = await session.scalars(select(Outbox.body).order_by(Outbox.seq))
        events = [Envelope.model_validate_json(body) for body in bodies]
    return [event for event in events if event.data.get("case_id") == case_id]


async def test_drafts_are_kept_together_and_hold_no_connection(
    case: Running, ground: Ground
) -> None:
    with case.keys_taken() as taken:
        made = await asyncio.gather(*(draft(case, ground, f"acc_{n}") for n in range(12)))
    assert not taken
    for n, shown in enumerate(made):
        path = f"/v1/cases/{shown['id']}"
        stored = await case.client.get(path, headers=ground.person(f"acc_{n}"))
        assert stored.json() == shown
    async with case.runtime.sessions() as session:
        for shown in made:
            entries = await timeline.entries(session, shown["id"])
            stored_case = await session.get_one(Case, shown["id"])
            assert timeline.broken_at(entries, stored_case.timeline_head) is None


async def test_held_licences_are_not_asked_for(case: Running, ground: Ground) -> None:
    made = await draft(case, ground, "acc_a")
    states = {s["material_id"]: (s["state"], s["reason_code"]) for s in made["materials"]}
    assert states["BIZ"] == ("exempt", "held_as_licence")
    assert states["RULES"] == ("needed", None)
    assert made["form"] == {"shop_name": "执照上的店名"}, "what a licence says is filled in"
    known = await draft(case, ground, "acc_profile")
    assert known["form"] == {"shop_name": "执照上的店名", "phone": "13800000009"}
    slot = next(s for s in made["materials"] if s["material_id"] == "BIZ")
    answer = await case.client.put(
        f"/v1/cases/{made['id']}/materials/{slot['id']}",
        content=PDF,
        headers=ground.person("acc_a"),
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "material_not_asked")


async def test_a_suspended_item_opens_no_draft(case: Running, ground: Ground) -> None:
    body, headers = {"item_code": "A07"}, {**ground.person("acc_a"), **key()}
    answer = await case.client.post("/v1/cases", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_submit_tells_everything_that_is_missing_at_once(
    case: Running, ground: Ground
) -> None:
    made = await draft(case, ground, "acc_b")
    me = ground.person("acc_b")
    answer = await case.client.post(f"/v1/cases/{made['id']}/submit", headers=me)
    assert answer.status_code == 422
    pointers = {error["pointer"] for error in answer.json()["errors"]}
    slot = next(s for s in made["materials"] if s["material_id"] == "RULES")
    assert pointers == {"/form/area", f"/materials/{slot['id']}"}


async def test_autosave_needs_the_version_and_checks_what_is_typed(
    case: Running, ground: Ground
) -> None:
    made = await draft(case, ground, "acc_c")
    me, path = ground.person("acc_c"), f"/v1/cases/{made['id']}"
    body = {"form": {"shop_name": "甲"}}
    assert (await case.client.patch(path, json=body, headers=me)).status_code == 428
    first = await case.client.patch(path, json=body, headers={**me, "if-match": '"1"'})
    assert first.json()["form"] == {"shop_name": "甲"}
    stale = await case.client.patch(path, json=body, headers={**me, "if-match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")
    wrong = {"form": {"area": "很大", "nope": 1, "scope": "cold"}}
    answer = await case.client.patch(path, json=wrong, headers={**me, "if-match": '"2"'})
    codes = {error["pointer"]: error["code"] for error in answer.json()["errors"]}
    assert codes == {
        "/form/area": "number",
        "/form/nope": "extra_forbidden",
        "/form/scope": "choice",
    }
    assert "很大" not in answer.text


async def test_one_key_one_case(case: Running, ground: Ground) -> None:
    headers = {**ground.person("acc_d"), **key()}
    body = {"item_code": "A05"}
    answers = await asyncio.gather(
        *(case.client.post("/v1/cases", json=body, headers=headers) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    other = await case.client.post("/v1/cases", json={"item_code": "A06"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    bare = await case.client.post("/v1/cases", json=body, headers=ground.person("acc_d"))
    assert (bare.status_code, bare.json()["code"]) == (400, "idempotency_key_missing")


async def test_whoever_may_not_see_a_case_finds_none(case: Running, ground: Ground) -> None:
    made = await in_review(case, ground, "acc_e")
    path = f"/v1/cases/{made['id']}"
    for headers, status in (
        (ground.person("acc_e"), 200),
        (ground.person("acc_f"), 404),
        (ground.staff("reviewer", "SAMR"), 200),
        (ground.staff("reviewer", "FIRE"), 200),
        (ground.staff("reviewer", "TAX"), 404),
        (ground.staff("reviewer", "SAMR", region="310101"), 404),
        (ground.service_token("payment"), 404),
        ({}, 401),
    ):
        assert (await case.client.get(path, headers=headers)).status_code == status
    fire = ground.staff("reviewer", "FIRE")
    decision = {"outcome": "approved"}
    answer = await case.client.post(f"{path}/decide", json=decision, headers=fire)
    assert answer.status_code == 404, "a helping department does not decide"
    person = await case.client.post(f"{path}/accept", headers=ground.person("acc_e"))
    assert person.status_code == 403


async def test_correction_stops_the_clock_and_the_answer_starts_it(
    case: Running, ground: Ground
) -> None:
    made = await in_review(case, ground, "acc_g")
    path = f"/v1/cases/{made['id']}"
    fire = ground.staff("reviewer", "FIRE", subject="stf_fire")
    task = next(task for task in made["tasks"] if task["dept"] == "FIRE")
    ask = {"kind": "incomplete", "what": "请补充平面图"}
    url = f"/v1/tasks/{task['id']}/request-correction"
    early = await case.client.post(url, json=ask, headers={**fire, **key()})
    assert early.status_code == 409, "claim first"
    await case.client.post(f"/v1/tasks/{task['id']}/claim", headers=fire)
    colleague = ground.staff("reviewer", "FIRE", subject="stf_other")
    taken = await case.client.post(url, json=ask, headers={**colleague, **key()})
    assert taken.status_code == 409
    asked = await case.client.post(url, json=ask, headers={**fire, **key()})
    assert asked.status_code == 201, asked.text
    me = ground.person("acc_g")
    clock = (await case.client.get(f"{path}/clock", headers=me)).json()
    assert clock["state"] == "paused"
    assert (clock["promised_unit"], clock["statutory_unit"]) == ("working_day", "natural_day")
    approve = {"outcome": "approved", "opinion": "同意"}
    waiting = await case.client.post(f"/v1/tasks/{task['id']}/decide", json=approve, headers=fire)
    assert waiting.status_code == 409
    assert (await case.client.post(f"{path}/correct", headers=me)).json()["state"] == "in_review"
    clock = (await case.client.get(f"{path}/clock", headers=me)).json()
    assert clock["state"] == "running"
    lawful = WorkCalendar.load().add_natural_days(clocks.today(), 10).due
    assert clock["statutory_due"] == lawful.isoformat()
    types = [event.event_type for event in await emitted(case, made["id"])]
    assert types.count("case.correction_requested.v1") == 1
    assert types.count("case.corrected.v1") == 1


async def test_from_review_to_closed_with_fee_and_licence(case: Running, ground: Ground) -> None:
    made = await in_review(case, ground, "acc_h", delivery="courier")
    path, lead = f"/v1/cases/{made['id']}", ground.staff("reviewer", "SAMR")
    assert (await decide_tasks(case, ground, made))["state"] == "fee_due"
    sessions = case.runtime.sessions
    for _ in range(2):
        async with sessions.begin() as session:
            await decisions.paid(session, case_id=made["id"], payment_id="pay_1")
    no_reason = await case.client.post(f"{path}/decide", json={"outcome": "rejected"}, headers=lead)
    assert no_reason.status_code == 422
    done = await case.client.post(f"{path}/decide", json={"outcome": "approved"}, headers=lead)
    assert done.json()["state"] == "issuing"
    data = await case.client.get(
        f"/internal{path}/licence-data", headers=ground.service_token("licence")
    )
    assert data.json()["fields"] == FORM
    for _ in range(2):
        async with sessions.begin() as session:
            await decisions.licence_issued(session, case_id=made["id"], licence_id="lic_9")
    for _ in range(2):
        async with sessions.begin() as session:
            await decisions.delivered(session, case_id=made["id"])
    me = ground.person("acc_h")
    final = (await case.client.get(path, headers=me)).json()
    assert (final["state"], final["outcome"], final["turn"]) == ("closed", "approved", "nobody")
    events = await emitted(case, made["id"])
    types = [event.event_type for event in events]
    assert types.count("case.closed.v1") == types.count("case.decided.v1") == 1
    versions = [e.aggregateversion for e in events if e.subject == made["id"]]
    assert versions == sorted(set(versions))
    assert {e.dept for e in events if e.subject == made["id"]} == {"SAMR"}


async def test_rejection_closes_and_withdrawal_drops_tasks(case: Running, ground: Ground) -> None:
    made = await in_review(case, ground, "acc_i", item="A06")
    lead = ground.staff("reviewer", "SAMR")
    assert (await decide_tasks(case, ground, made))["state"] == "deciding"
    body = {"outcome": "rejected", "reason_code": "not_eligible", "reason": "不符合条件"}
    answer = await case.client.post(f"/v1/cases/{made['id']}/decide", json=body, headers=lead)
    assert (answer.json()["state"], answer.json()["outcome"]) == ("closed", "rejected")
    other = await in_review(case, ground, "acc_j")
    me = ground.person("acc_j")
    back = (await case.client.post(f"/v1/cases/{other['id']}/withdraw", headers=me)).json()
    assert back["state"] == "withdrawn"
    assert {task["state"] for task in back["tasks"]} == {"dropped"}
    again = await case.client.post(f"/v1/cases/{other['id']}/withdraw", headers=me)
    assert (again.status_code, again.json()["code"]) == (409, "illegal_move")


async def test_a_changed_timeline_is_found_and_cannot_be_written_by_the_service(
    case: Running, ground: Ground
) -> None:
    made = await in_review(case, ground, "acc_k")
    me = ground.person("acc_k")
    told = (await case.client.get(f"/v1/cases/{made['id']}/timeline", headers=me)).json()
    assert told["intact"]
    assert [entry["action"] for entry in told["entries"]] == ["open_draft", "submit", "accept"]
    async with case.runtime.sessions.begin() as session:
        await session.execute(
            text("update timeline_entry set actor = 'x' where id = :id"),
            {"id": told["entries"][1]["id"]},
        )
    async with case.runtime.sessions() as session:
        rows = await timeline.entries(session, made["id"])
        assert timeline.broken_at(rows, told["head"]) == told["entries"][1]["id"]
        assert timeline.broken_at(rows[:1], told["head"]) == "head"
    told = (await case.client.get(f"/v1/cases/{made['id']}/timeline", headers=me)).json()
    assert told["intact"] is False
    assert TimelineEntry.__table__.info["append_only"]


async def test_pages_neither_repeat_nor_lose(case: Running, ground: Ground) -> None:
    made = {(await draft(case, ground, "acc_l"))["id"] for _ in range(7)}
    me, url, seen = ground.person("acc_l"), "/v1/cases?limit=3", []
    while url:
        page = (await case.client.get(url, headers=me)).json()
        seen += [line["id"] for line in page["items"]]
        url = page["next"]
    assert len(seen) == len(set(seen)) == 7
    assert set(seen) == made
    other = ground.person("acc_m")
    forged = await case.client.get("/v1/cases?cursor=AAAA", headers=other)
    assert (forged.status_code, forged.json()["code"]) == (400, "bad_cursor")


async def test_files_are_told_by_content(case: Running, ground: Ground) -> None:
    made = await draft(case, ground, "acc_n")
    slot = next(s for s in made["materials"] if s["material_id"] == "RULES")
    url = f"/v1/cases/{made['id']}/materials/{slot['id']}"
    me = ground.person("acc_n")
    for content in (b"", b"MZ\x90", b"<svg onload=alert(1)>"):
        answer = await case.client.put(url, content=content, headers=me)
        assert (answer.status_code, answer.json()["code"]) == (415, "file_unfit")
    huge = await case.client.put(url, content=b"%PDF-" + b"0" * (6 << 20), headers=me)
    assert huge.status_code == 413
    assert (await case.client.put(url, content=PDF, headers=me)).status_code == 200
    back = await case.client.get(f"{url}/content", headers=me)
    assert (back.content, back.headers["content-type"]) == (PDF, "application/pdf")


async def test_a_case_of_yesterday_is_not_taken_in_again(case: Running, ground: Ground) -> None:
    """Its clock ended before a new one could begin: the answer is the state, no trouble of ours."""
    made = await in_review(case, ground, "acc_again")
    async with case.runtime.sessions.begin() as session:
        row = await session.get(Case, made["id"])
        assert row is not None
        assert row.accepted_on is not None
        row.decided_on = row.accepted_on - timedelta(days=1)
    again = await case.client.post(
        f"/v1/cases/{made['id']}/accept", headers=ground.staff("counter", "SAMR")
    )
    assert (again.status_code, again.json()["code"]) == (409, "illegal_move")
