"""Staff who read a case leave one line an hour for the applicant; applicants leave none."""

import asyncio

from sqlalchemy import select

from contracts.event import Envelope
from kit.outbox import Outbox
from kit.testing import Ground, Running

from .test_cases import PDF, submitted


async def told(case: Running, *objects: str) -> list[tuple[str, str, str, str]]:
    query = select(Outbox.body).where(Outbox.subject.startswith("evt.case.data_read.v1."))
    async with case.runtime.sessions() as session:
        bodies = await session.scalars(query.order_by(Outbox.seq))
        events = [Envelope.model_validate_json(body).data for body in bodies]
    return [
        (data["reader_id"], data["reader_dept"], data["kind"], data["purpose"])
        for data in events
        if data["object_id"] in objects
    ]


async def test_one_line_for_each_reader_and_thing(case: Running, ground: Ground) -> None:
    made = await submitted(case, ground, "acc_reads")
    path, slot = f"/v1/cases/{made['id']}", made["materials"][1]["id"]
    anna = ground.staff("reviewer", "SAMR", "stf_anna")
    bert = ground.staff("counter", "SAMR", "stf_bert", "310000")
    assert await told(case, made["id"], slot) == [], "applicants read their own untold"
    answers = await asyncio.gather(
        *(case.client.get(path, headers=anna) for _ in range(5)),
        case.client.get(f"{path}/timeline", headers=anna),
    )
    assert {answer.status_code for answer in answers} == {200}
    await case.client.get(path, headers=bert)
    content = await case.client.get(f"{path}/materials/{slot}/content", headers=anna)
    assert content.content == PDF
    assert await told(case, made["id"], slot) == [
        ("stf_anna", "SAMR", "case", "review"),
        ("stf_bert", "SAMR", "case", "intake"),
        ("stf_anna", "SAMR", "material", "review"),
    ]


async def test_who_saw_nothing_is_not_told_of(case: Running, ground: Ground) -> None:
    made = await submitted(case, ground, "acc_unread")
    path = f"/v1/cases/{made['id']}"
    for headers in (
        ground.staff("reviewer", "MCA"),
        ground.staff("reviewer", "SAMR", region="310104"),
        ground.person("acc_other"),
    ):
        assert (await case.client.get(path, headers=headers)).status_code == 404
    assert (await case.client.get(path, headers=ground.person("acc_unread"))).status_code == 200
    assert await told(case, made["id"]) == []


async def test_acting_on_a_case_is_reading_it(case: Running, ground: Ground) -> None:
    made = await submitted(case, ground, "acc_acted")
    counter = ground.staff("counter", "SAMR", "stf_carl")
    answer = await case.client.post(f"/v1/cases/{made['id']}/accept", headers=counter)
    assert answer.status_code == 200, answer.text
    assert await told(case, made["id"]) == [("stf_carl", "SAMR", "case", "intake")]
