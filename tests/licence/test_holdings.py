"""What licence-svc holds of an account: told for its owner's export, erased as far as it may."""

from sqlalchemy import select

from contracts.identity import AccountClosed
from kit.testing import Ground, Running, key
from licence_svc import licences
from licence_svc.models import Licence, Presentation, sealed_at

from .conftest import Grantor

LEAVER = licences.Holder("acc_leaver", "person", "钱七", "11010519491231002X")


async def test_export_and_erasing(svc: Running, ground: Ground, grant: Grantor) -> None:
    row = await grant(LEAVER)
    ask = ground.service_token("identity")
    page = await svc.client.get("/internal/v1/accounts/acc_leaver/export", headers=ask)
    [item] = page.json()["items"]
    assert (item["id"], item["holder_name"], item["holder_number"]) == (
        row.id,
        "钱七",
        LEAVER.number,
    )
    assert item["fields"]["name"] == "三丰面馆"
    assert page.json()["next"] is None
    shown = await svc.client.post(
        f"/v1/licences/{row.id}/present",
        json={"purpose": "租房"},
        headers={**ground.person("acc_leaver"), **key()},
    )
    assert shown.status_code == 201, shown.text
    closed = AccountClosed(account_id="acc_leaver")
    assert await svc.hear(closed, times=2, subject="acc_leaver", version=2) == 1
    async with svc.runtime.sessions() as session:
        [left] = await session.scalars(
            select(Presentation).where(Presentation.licence_id == row.id)
        )
        licence = await session.get_one(Licence, row.id)
    bound = sealed_at("presentation", "purpose", left.id)
    assert (left.state, svc.runtime.vault.open(left.purpose, bound_to=bound)) == ("expired", "")
    assert licence.state == "active", "an issued licence is a record of its department"
