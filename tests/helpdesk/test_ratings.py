"""Ratings: invited once, given once, or lapsed."""

import asyncio
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import text, update

from helpdesk_svc import criteria, ratings
from helpdesk_svc.models import Rating
from helpdesk_svc.schemas import IndicatorsIn
from kit.clock import WorkCalendar, city_day
from kit.ids import new_id
from kit.testing import Ground, Running

from .conftest import ZHANG, closed, deliver, events, invited

GOOD = {
    "score": 5,
    "reasons": ["quick", "few_materials"],
    "indicators": {"efficiency": 5, "platform": 4},
    "comment": "材料免交,王师傅电话13800000009很耐心",
}


async def submit(
    svc: Running, ground: Ground, rating_id: str, body: Any, who: str = ZHANG, **headers: str
) -> Any:
    return await svc.client.post(
        f"/v1/ratings/{rating_id}/submit", json=body, headers=ground.person(who) | headers
    )


async def test_a_closed_case_invites_and_is_rated_once(svc: Running, ground: Ground) -> None:
    rating = await invited(svc, ground)
    assert (rating["state"], rating["score"], rating["item_name"]) == (
        "invited",
        None,
        "食品经营许可（新办）",
    )
    [invitation] = await events(svc, rating["id"], "helpdesk.rating_invited.v1")
    assert invitation["data"] == {
        "rating_id": rating["id"],
        "case_id": rating["case_id"],
        "account_id": ZHANG,
        "due": rating["due"],
    }
    assert (invitation["region"], invitation["dept"]) == ("310115", "SAMR")
    assert invitation["correlationid"] == "req-of-the-case"

    answer = await submit(svc, ground, rating["id"], GOOD)
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == '"2"'
    told = answer.json()
    assert (told["state"], {k: told[k] for k in GOOD}) == ("rated", GOOD)
    [given_event] = await events(svc, rating["id"], "helpdesk.rating_submitted.v1")
    assert given_event["data"] == {
        "rating_id": rating["id"],
        "case_id": rating["case_id"],
        "score": 5,
    }
    assert (given_event["region"], given_event["dept"]) == ("310115", "SAMR")
    assert given_event["aggregateversion"] == 2

    again = await submit(svc, ground, rating["id"], {"score": 1})
    assert (again.status_code, again.json()["code"]) == (409, "illegal_move")
    read = await svc.client.get(f"/v1/ratings/{rating['id']}", headers=ground.person(ZHANG))
    assert read.json()["score"] == 5


async def test_the_comment_lies_sealed(svc: Running, ground: Ground) -> None:
    rating = await invited(svc, ground)
    await submit(svc, ground, rating["id"], GOOD)
    async with svc.runtime.sessions() as session:
        row = text("select row_to_json(r)::text from rating r where id = :id")
        stored = await session.scalar(row, {"id": rating["id"]})
        outbox = await session.scalar(text("select string_agg(body, '') from outbox"))
    assert "王师傅" not in stored
    assert "13800000009" not in stored + outbox


async def test_many_submits_at_once_one_counts(svc: Running, ground: Ground) -> None:
    rating = await invited(svc, ground)
    answers = await asyncio.gather(
        *(submit(svc, ground, rating["id"], {"score": n % 5 + 1}) for n in range(6))
    )
    assert sorted(a.status_code for a in answers) == [200] + [409] * 5
    assert len(await events(svc, rating["id"], "helpdesk.rating_submitted.v1")) == 1


async def test_the_event_twice_invites_once(svc: Running, ground: Ground) -> None:
    case_id = new_id("case")
    envelope = closed(case_id)
    assert await deliver(svc, envelope) == 1
    assert await deliver(svc, envelope) == 0
    # The same close under another event id, also after the rating was given.
    assert await deliver(svc, closed(case_id)) == 1
    headers = ground.person(ZHANG)
    path = f"/v1/ratings?case_id={case_id}"
    [rating] = (await svc.client.get(path, headers=headers)).json()["items"]
    await submit(svc, ground, rating["id"], {"score": 4})
    assert await deliver(svc, closed(case_id)) == 1
    [rating] = (await svc.client.get(path, headers=headers)).json()["items"]
    assert (rating["state"], rating["score"]) == ("rated", 4)
    assert len(await events(svc, rating["id"], "helpdesk.rating_invited.v1")) == 1


async def test_a_withdrawn_case_is_not_rated(svc: Running, ground: Ground) -> None:
    case_id = new_id("case")
    await deliver(svc, closed(case_id, outcome="withdrawn"))
    answer = await svc.client.get(f"/v1/ratings?case_id={case_id}", headers=ground.person(ZHANG))
    assert answer.json() == {"items": [], "next": None}


async def test_a_rejected_case_is(svc: Running, ground: Ground) -> None:
    assert (await invited(svc, ground, outcome="rejected"))["outcome"] == "rejected"


async def test_due_after_working_days_of_the_policy(svc: Running, ground: Ground) -> None:
    # 2026-09-24 16:30 UTC is already the 25th in Beijing, the first day of a holiday; the
    # National Day holiday follows, with working Saturdays and Sundays between.
    at = datetime(2026, 9, 24, 16, 30, tzinfo=UTC)
    default = await invited(svc, ground, at=at)
    expected = WorkCalendar.load().add_working_days(date(2026, 9, 25), 10).due
    assert default["due"] == expected.isoformat()
    operator = ground.staff("operator", "DATA")
    for region, days in (("_", 7), ("310101", 3)):
        answer = await svc.client.put(
            f"/v1/ratings/policies/{region}", json={"working_days": days}, headers=operator
        )
        assert answer.json() == {"region": region, "working_days": days}
    listed = await svc.client.get("/v1/ratings/policies", headers=operator)
    assert len(listed.json()["items"]) == 2
    for region, days in (("310115", 7), ("310101", 3)):
        rating = await invited(svc, ground, at=at, region=region)
        expected = WorkCalendar.load().add_working_days(date(2026, 9, 25), days).due
        assert rating["due"] == expected.isoformat()
    async with svc.runtime.sessions.begin() as session:
        await session.execute(text("delete from rating_policy"))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("31011", {"working_days": 3}),
        ("上海", {"working_days": 3}),
        ("310115", {"working_days": 0}),
        ("310115", {"working_days": 251}),
        ("310115", {"working_days": True}),
        ("310115", {}),
    ],
)
async def test_bad_policies(svc: Running, ground: Ground, path: str, body: Any) -> None:
    answer = await svc.client.put(
        f"/v1/ratings/policies/{path}", json=body, headers=ground.staff("operator", "DATA")
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_lapsed_when_the_time_is_over(svc: Running, ground: Ground) -> None:
    rating = await invited(svc, ground)
    async with svc.runtime.sessions.begin() as session:
        row = update(Rating).where(Rating.id == rating["id"])
        await session.execute(row.values(due=date(2026, 1, 5)))
    late = await submit(svc, ground, rating["id"], GOOD)
    assert (late.status_code, late.json()["code"]) == (409, "rating_lapsed")
    async with svc.runtime.sessions.begin() as session:
        assert await ratings.lapse_overdue(session, date(2026, 1, 5)) == 0
        assert await ratings.lapse_overdue(session, city_day(datetime.now(UTC))) >= 1
    read = await svc.client.get(f"/v1/ratings/{rating['id']}", headers=ground.person(ZHANG))
    assert (read.json()["state"], read.headers["etag"]) == ("lapsed", '"2"')
    late = await submit(svc, ground, rating["id"], GOOD)
    assert (late.status_code, late.json()["code"]) == (409, "rating_lapsed")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/body/score"),
        ({"score": 0}, "/body/score"),
        ({"score": 6}, "/body/score"),
        ({"score": "5"}, "/body/score"),
        ({"score": True}, "/body/score"),
        ({"score": 4.5}, "/body/score"),
        ({"score": 5, "reasons": ["over_time"]}, "/body/reasons/0"),
        ({"score": 1, "reasons": ["over_time", "no-such-reason"]}, "/body/reasons/1"),
        ({"score": 5, "indicators": {"manner": 5}}, "/body/indicators"),
        ({"score": 5, "indicators": {"platform": 9}}, "/body/indicators/platform"),
        ({"score": 5, "comment": "长" * 501}, "/body/comment"),
        ({"score": 5, "name": "张三"}, "/body/name"),
    ],
)
async def test_bad_ratings_are_told_where(
    svc: Running, ground: Ground, body: dict[str, Any], pointer: str
) -> None:
    rating = await invited(svc, ground)
    answer = await submit(svc, ground, rating["id"], body)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert "no-such-reason" not in answer.text
    good = await submit(svc, ground, rating["id"], GOOD)
    assert good.status_code == 200


async def test_a_window_case_is_asked_other_things(svc: Running, ground: Ground) -> None:
    rating = await invited(svc, ground, channel="counter")
    refused = await submit(svc, ground, rating["id"], {"score": 2, "indicators": {"platform": 1}})
    assert refused.status_code == 422
    body = {"score": 2, "reasons": ["bad_manner"], "indicators": {"manner": 1}}
    assert (await submit(svc, ground, rating["id"], body)).status_code == 200


async def test_somebody_elses_rating_is_not_there(svc: Running, ground: Ground) -> None:
    rating = await invited(svc, ground)
    stranger = ground.person("acc_stranger")
    path = f"/v1/ratings/{rating['id']}"
    assert (await svc.client.get(path, headers=stranger)).status_code == 404
    assert (await submit(svc, ground, rating["id"], GOOD, "acc_stranger")).status_code == 404
    assert (await svc.client.get(path)).status_code == 401
    mine = await svc.client.get(f"/v1/ratings?case_id={rating['case_id']}", headers=stranger)
    assert mine.json()["items"] == []


async def test_a_stale_view_is_refused(svc: Running, ground: Ground) -> None:
    rating = await invited(svc, ground)
    stale = await submit(svc, ground, rating["id"], GOOD, **{"if-match": '"7"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")
    fresh = await submit(svc, ground, rating["id"], GOOD, **{"if-match": '"1"'})
    assert fresh.status_code == 200


async def test_the_department_reads_what_it_got(svc: Running, ground: Ground) -> None:
    region = "310104"
    made = [await invited(svc, ground, region=region, applicant_id=f"acc_{n}") for n in range(3)]
    for n, rating in enumerate(made):
        await submit(svc, ground, rating["id"], {"score": n + 1, "comment": "好"}, f"acc_{n}")
    staff = ground.staff("supervisor", "SAMR", region=region)
    first = await svc.client.get("/v1/ratings/received?limit=2", headers=staff)
    assert "acc_" not in first.text
    assert first.json()["items"][0]["comment"] == "好"
    second = await svc.client.get(first.json()["next"], headers=staff)
    got = first.json()["items"] + second.json()["items"]
    assert [x["id"] for x in got] == [x["id"] for x in made[::-1]]
    bad = await svc.client.get("/v1/ratings/received?worst=2", headers=staff)
    assert [x["score"] for x in bad.json()["items"]] == [2, 1]
    for other in (
        ground.staff("supervisor", "FIRE", region=region),
        ground.staff("supervisor", "SAMR", region="310101"),
    ):
        answer = await svc.client.get("/v1/ratings/received", headers=other)
        assert answer.json()["items"] == []
    citizen = await svc.client.get("/v1/ratings/received", headers=ground.person(ZHANG))
    assert citizen.status_code == 403


async def test_my_ratings_in_pages(svc: Running, ground: Ground) -> None:
    made = [await invited(svc, ground, applicant_id="acc_pages") for _ in range(3)]
    headers = ground.person("acc_pages")
    first = (await svc.client.get("/v1/ratings?limit=2", headers=headers)).json()
    second = (await svc.client.get(first["next"], headers=headers)).json()
    got = first["items"] + second["items"]
    assert [x["id"] for x in got] == [x["id"] for x in made[::-1]]
    assert second["next"] is None


async def test_criteria_are_public(svc: Running) -> None:
    told = (await svc.client.get("/v1/ratings/criteria")).json()
    assert [level["code"] for level in told["levels"]] == ["5", "4", "3", "2", "1"]
    assert {"quick", "over_time"} <= {reason["code"] for reason in told["reasons"]}


def test_every_score_has_reasons_and_no_code_twice() -> None:
    assert all(criteria.reasons_for(score) for score in range(1, 6))
    asked = {c.code for c in criteria.ONLINE_INDICATORS + criteria.OFFLINE_INDICATORS}
    assert asked == set(IndicatorsIn.model_fields)
    codes = [reason.code for reason in criteria.REASONS]
    assert len(codes) == len(set(codes))
