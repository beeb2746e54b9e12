"""A licence goes out: placed with the simulator, moved by its pushes, delivered once."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select, text

from contracts.event import Envelope
from contracts.licence import LicenceIssued
from kit.ids import new_id
from kit.inbox import Meta
from kit.outbox import Outbox
from kit.testing import Ground, Running, key, serve, until
from logistics_svc import shipments, subscribers
from logistics_svc.carriers import Track, TrackStatus
from logistics_svc.models import SHIPMENT_TRANSITIONS
from sandbox.testing import Sandbox, free_port, sandbox

HOME = {"name": "张三丰", "mobile": "13912345678", "street": "合欢路100号1201室"}


@pytest.fixture(scope="module")
async def world(
    ground: Ground, nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Running, Sandbox]]:
    port = free_port()
    push = f"http://127.0.0.1:{port}/callbacks/sf/"
    folder = tmp_path_factory.mktemp("outside")
    async with sandbox(folder, sf_push_url=push) as outside:
        options = {"sf_base_url": outside.url, "sf_keys": outside.keys / "sf"}
        async with (
            ground.service("logistics_svc", nats=nats_url, **options) as logistics,
            serve(logistics.app, port=port, lifespan="off"),
        ):
            yield logistics, outside


def issued(receiver: str, address_id: str | None) -> LicenceIssued:
    return LicenceIssued(
        licence_id=new_id("lic"),
        licence_type="LT-FOOD",
        holder_id=receiver,
        case_id=new_id("case"),
        item_code="A05",
        valid_from=date(2026, 11, 22),
        valid_until=date(2031, 11, 21),
        delivery="courier",
        address_id=address_id,
    )


def meta(licence: LicenceIssued) -> Meta:
    return Meta(
        id=uuid4(),
        subject=licence.licence_id,
        time=datetime.now(UTC),
        version=1,
        region="310115",
        dept="SAMR",
        actor=None,
        correlationid=None,
        traceparent=None,
    )


async def address(logistics: Running, ground: Ground, who: str) -> str:
    answer = await logistics.client.post(
        "/v1/addresses", json=HOME, headers={**ground.person(who), **key()}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def planned(logistics: Running, licence: LicenceIssued) -> None:
    for _ in range(2):
        async with logistics.runtime.sessions.begin() as session:
            await subscribers.plan_shipment(session, licence, meta(licence))
    logistics.runtime.wake("place_due")


async def shipment(logistics: Running, ground: Ground, licence: LicenceIssued) -> Any:
    headers = ground.person(licence.holder_id)
    page = await logistics.client.get(f"/v1/shipments?case_id={licence.case_id}", headers=headers)
    items = page.json()["items"]
    assert len(items) <= 1
    if not items:
        return None
    return (await logistics.client.get(f"/v1/shipments/{items[0]['id']}", headers=headers)).json()


async def emitted(logistics: Running, shipment_id: str) -> list[str]:
    async with logistics.runtime.sessions() as session:
        bodies = await session.scalars(select(Outbox.body).order_by(Outbox.seq))
        events = [Envelope.model_validate_json(body) for body in bodies]
    return [event.event_type for event in events if event.subject == shipment_id]


async def test_the_address_book_shows_masks_and_is_ones_own(
    world: tuple[Running, Sandbox], ground: Ground
) -> None:
    logistics, _ = world
    address_id = await address(logistics, ground, "acc_a")
    mine = await logistics.client.get("/v1/addresses", headers=ground.person("acc_a"))
    assert [a["id"] for a in mine.json()] == [address_id]
    for secret in HOME.values():
        assert secret not in mine.text
    other = ground.person("acc_b")
    assert (await logistics.client.get("/v1/addresses", headers=other)).json() == []
    gone = await logistics.client.delete(f"/v1/addresses/{address_id}", headers=other)
    assert gone.status_code == 404
    async with logistics.runtime.sessions() as session:
        row = (await session.execute(text("select name::text, street::text from address"))).all()
    assert "张三丰".encode().hex() not in str(row)
    wrong = await logistics.client.post(
        "/v1/addresses", json={**HOME, "mobile": "12345"}, headers={**other, **key()}
    )
    assert wrong.status_code == 422
    assert "12345" not in wrong.text


async def test_placed_once_moved_by_pushes_and_delivered_once(
    world: tuple[Running, Sandbox], ground: Ground
) -> None:
    logistics, outside = world
    licence = issued("acc_c", await address(logistics, ground, "acc_c"))
    await planned(logistics, licence)

    async def placed() -> Any:
        told = await shipment(logistics, ground, licence)
        return told if told and told["waybill_no"] else None

    told = await until(placed)
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as sim:
        for step in ("out_for_delivery", "delivered"):
            body = {"waybill_no": told["waybill_no"], "to": step}
            assert (await sim.post("/_sim/sf/advance", json=body)).status_code == 200
        again = {"waybill_no": told["waybill_no"]}
        await sim.post("/_sim/sf/pushes/resend", json=again)

        async def delivered() -> Any:
            now = await shipment(logistics, ground, licence)
            return now if now["state"] == "delivered" else None

        told = await until(delivered)
        await sim.post("/_sim/sf/pushes/resend", json=again)
        book = (await sim.get("/_sim/sf/book")).json()
    assert [o["order_id"] for o in book["orders"]].count(told["id"]) == 1
    times = [track["happened_at"] for track in told["tracks"]]
    assert times == sorted(times)

    async def all_told() -> Any:
        kinds = await emitted(logistics, told["id"])
        return kinds if len(kinds) > 2 else None

    # Two pushes are under way at once: either may be the first to arrive.
    kinds = await until(all_told)
    assert kinds[0] == "logistics.shipment_placed.v1"
    assert sorted(kinds[1:]) == [
        "logistics.shipment_delivered.v1",
        "logistics.shipment_picked_up.v1",
    ]
    for headers, status in (
        (ground.person("acc_d"), 404),
        (ground.staff("reviewer", "SAMR"), 200),
        (ground.staff("reviewer", "TAX"), 404),
    ):
        answer = await logistics.client.get(f"/v1/shipments/{told['id']}", headers=headers)
        assert answer.status_code == status


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 2, 0], [2, 0, 1], [1, 0, 2]])
async def test_pushes_in_any_order_and_within_one_second_tell_every_fact_once(
    world: tuple[Running, Sandbox], ground: Ground, order: list[int]
) -> None:
    logistics, _ = world
    licence = issued("acc_h", await address(logistics, ground, "acc_h"))
    await planned(logistics, licence)

    async def placed() -> Any:
        told = await shipment(logistics, ground, licence)
        return told if told and told["waybill_no"] else None

    told = await until(placed)
    moment = datetime.now(UTC).replace(microsecond=0)
    facts = [
        Track(f"{status}-key", told["id"], told["waybill_no"], status, "x", moment, "上海市", "")
        for status in (TrackStatus.PICKED_UP, TrackStatus.OUT_FOR_DELIVERY, TrackStatus.DELIVERED)
    ]
    for index in [*order, *order]:
        async with logistics.runtime.sessions.begin() as session:
            await shipments.follow(session, "sf", [facts[index]], poll=timedelta(minutes=1))
    assert (await shipment(logistics, ground, licence))["state"] == "delivered"
    kinds = await emitted(logistics, told["id"])
    assert sorted(kinds) == [
        "logistics.shipment_delivered.v1",
        "logistics.shipment_picked_up.v1",
        "logistics.shipment_placed.v1",
    ]


async def test_an_answer_that_never_comes_places_one_order(
    world: tuple[Running, Sandbox], ground: Ground
) -> None:
    logistics, outside = world
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as sim:
        fault = {"kind": "500", "moment": "after", "times": 2}
        planned_fault = await sim.post("/_sim/sf/faults", json=fault)
        assert planned_fault.status_code == 204, planned_fault.text
        licence = issued("acc_e", await address(logistics, ground, "acc_e"))
        await planned(logistics, licence)

        async def placed() -> Any:
            told = await shipment(logistics, ground, licence)
            return told if told and told["waybill_no"] else None

        told = await until(placed, seconds=30)
        book = (await sim.get("/_sim/sf/book")).json()
    assert [o["order_id"] for o in book["orders"]].count(told["id"]) == 1


async def test_a_foreign_address_is_never_used(
    world: tuple[Running, Sandbox], ground: Ground
) -> None:
    logistics, _ = world
    licence = issued("acc_f", await address(logistics, ground, "acc_g"))
    await planned(logistics, licence)
    told = await shipment(logistics, ground, licence)
    assert (told["state"], told["trouble"]) == ("failed", "no_address")


async def test_a_push_needs_the_secret_and_a_readable_form(
    world: tuple[Running, Sandbox],
) -> None:
    logistics, _ = world
    answer = await logistics.client.post("/callbacks/sf/guess", content=b"{}")
    assert answer.status_code == 404
    secret = logistics.runtime.parts["push_token"]
    for body in (b"", b"[]", b'{"Body": 1}', b"\xff"):
        answer = await logistics.client.post(f"/callbacks/sf/{secret}", content=body)
        assert answer.json()["return_code"] != "0000"


def test_final_states_have_no_way_out() -> None:
    finals = {"delivered", "returned", "lost", "cancelled"}
    assert not {source for source, _ in SHIPMENT_TRANSITIONS} & finals
    assert shipments.LONGEST_PAUSE <= 60
