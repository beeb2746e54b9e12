from typing import Any

from stdnum.iso7064 import mod_11_2

from kit.testing import Ground, Running
from licence_svc import seed


async def test_the_demo_people_hold_their_licences_once(svc: Running, ground: Ground) -> None:
    await seed.seed(svc.runtime)
    await seed.seed(svc.runtime)

    async def held(account: str) -> list[dict[str, Any]]:
        answer = await svc.client.get("/v1/me/licences", headers=ground.person(account))
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    zhang = await held("acc_zhangsan")
    assert [(x["licence_type"], x["state"]) for x in zhang] == [
        ("LT-BIZ", "active"),
        ("LT-ID", "active"),
    ]
    assert [x["licence_type"] for x in await held("acc_lisi")] == ["LT-ID"]
    detail = await svc.client.get(
        f"/v1/licences/{zhang[0]['id']}", headers=ground.person("acc_zhangsan")
    )
    assert detail.json()["fields"] == seed.SHOP


def test_the_demo_numbers_check_out() -> None:
    for holder in (seed.ZHANG, seed.LI):
        assert mod_11_2.is_valid(holder.number)
