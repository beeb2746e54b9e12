"""What logistics-svc holds of an account: told for its owner's export, erased with the account."""

from sqlalchemy import select

from contracts.identity import AccountClosed
from kit.testing import Ground, Running
from logistics_svc import addresses
from logistics_svc.models import Address, Shipment
from sandbox.testing import Sandbox

from .test_shipments import HOME, address, issued, planned
from .test_shipments import world as world


async def test_export_open_parcels_and_erasing(
    world: tuple[Running, Sandbox], ground: Ground
) -> None:
    logistics, _ = world
    who, ask = "acc_leaves", ground.service_token("identity")
    licence = issued(who, await address(logistics, ground, who))
    await planned(logistics, licence)
    base = f"/internal/v1/accounts/{who}"
    page = (await logistics.client.get(f"{base}/export", headers=ask)).json()
    assert page["part"] == "addresses"
    assert {key: page["items"][0][key] for key in HOME} == HOME, "in clear, for the person"
    follows = {"cursor": page["next"]}
    page = (await logistics.client.get(f"{base}/export", params=follows, headers=ask)).json()
    assert [item["case_id"] for item in page["items"]] == [licence.case_id]
    matters = (await logistics.client.get(f"{base}/open-matters", headers=ask)).json()
    assert matters == {"items": [{"kind": "shipment", "id": page["items"][0]["id"]}]}

    closed = AccountClosed(account_id=who)
    assert await logistics.hear(closed, times=2, subject=who, version=2) == 1
    async with logistics.runtime.sessions() as session:
        [row] = await session.scalars(select(Address).where(Address.account_id == who))
        [parcel] = await session.scalars(select(Shipment).where(Shipment.receiver_id == who))
    assert set(addresses.opened(logistics.runtime.vault, row).values()) == {""}
    assert row.deleted_at is not None
    assert parcel.case_id == licence.case_id
