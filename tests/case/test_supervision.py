"""What departments are late with, as operators are told: by department, without names."""

from datetime import timedelta
from typing import Any

from sqlalchemy import update

from case_svc.clocks import today
from case_svc.models import Task
from kit import clock
from kit.testing import Ground, Running, key

from .test_cases import in_review


async def departments(case: Running, ground: Ground) -> dict[str, dict[str, Any]]:
    operator = ground.staff("operator", "SAMR", "stf_o01")
    state = (await case.client.get("/v1/ops/case", headers=operator)).json()
    return {row["dept"]: row for row in state["boards"]["supervision"]["departments"]}


async def change(case: Running, task_id: str, **values: Any) -> None:
    async with case.runtime.sessions.begin() as session:
        await session.execute(update(Task).where(Task.id == task_id).values(**values))


async def test_overdue_in_danger_and_stalled_are_counted_by_department(
    case: Running, ground: Ground
) -> None:
    made = await in_review(case, ground, "acc_late")
    [fire] = [task for task in made["tasks"] if task["dept"] == "FIRE"]
    before = (await departments(case, ground))["FIRE"]
    await change(case, fire["id"], due=today() - timedelta(days=1))
    late = (await departments(case, ground))["FIRE"]
    assert (late["open"], late["overdue"]) == (before["open"], before["overdue"] + 1)
    assert late["earliest_due"] <= (today() - timedelta(days=1)).isoformat()

    await change(case, fire["id"], due=today(), created_at=clock.now() - timedelta(days=4))
    soon = (await departments(case, ground))["FIRE"]
    assert soon["overdue"] == before["overdue"]
    assert (soon["in_danger"], soon["stalled"]) == (before["in_danger"] + 1, before["stalled"] + 1)

    desk = ground.staff("reviewer", "FIRE", subject="stf_FIRE")
    await case.client.post(f"/v1/tasks/{fire['id']}/claim", headers=desk)
    assert (await departments(case, ground))["FIRE"]["stalled"] == before["stalled"]
    # While the applicant has to correct something the clock stands still.
    ask = {"kind": "incomplete", "what": "缺一页", "slots": [made["materials"][1]["id"]]}
    answer = await case.client.post(
        f"/v1/tasks/{fire['id']}/request-correction", json=ask, headers={**desk, **key()}
    )
    assert answer.status_code == 201, answer.text
    waiting = (await departments(case, ground)).get("FIRE", {"open": 0})
    assert waiting["open"] == before["open"] - 1
