"""The person whose things staff looked at finds it in the access log, from every service."""

from typing import Any

from kit.testing import until

from .cast import Cast
from .story import Story


async def test_staff_leave_their_department_behind(cast: Cast, story: Story) -> None:
    ids, gateway = story.ids, cast.place.gateway
    reviewer, owner = cast.headers("city supervisor"), cast.headers("owner")
    for path in (
        f"/v1/cases/{ids['case_id']}",
        f"/v1/cases/{ids['case_id']}/materials/{ids['slot_id']}/content",
        f"/v1/payments/{ids['payment_id']}",
        f"/v1/shipments/{ids['shipment_id']}",
    ):
        for _ in range(3):
            answer = await cast.client.get(gateway + path, headers=reviewer)
            assert answer.status_code == 200, f"{path}: {answer.text}"

    async def shown() -> Any:
        answer = await cast.client.get(f"{gateway}/v1/me/access-log?limit=100", headers=owner)
        lines = [x for x in answer.json()["items"] if x["purpose"] == "supervision"]
        found = sorted(line["kind"] for line in lines)
        return lines if len(found) >= 4 else None

    lines = await until(shown)
    kinds = sorted(line["kind"] for line in lines)
    assert set(kinds) == {"case", "material", "payment", "shipment"}
    assert {line["dept_name"] for line in lines} == {"上海市市场监督管理局"}
    assert "stf_" not in str(lines)
