"""A planted person lives through the main journey; what it leaves behind is what tests look at."""

from dataclasses import dataclass, field
from typing import Any

from beam.journey import steps
from beam.journey.door import Door
from beam.journey.stage import Stage, until
from beam.journey.steps import CITIZEN, Journey

from .cast import Cast
from .people import Person


@dataclass
class Story:
    """A journey that came to its end, and the ids of everything that belongs to its person."""

    person: Person
    account_id: str
    journey: Journey
    ids: dict[str, str] = field(default_factory=dict)
    """Name of a path parameter → an id of this person's."""


def document(person: Person) -> bytes:
    return steps.PDF + f"% {person.file} {person.name}\n".encode()


async def register(cast: Cast, person: Person) -> Door:
    """The person registers and signs in through the login page."""
    door = Door(cast.place.gateway, CITIZEN)
    said = person.planted()
    body = {name: said[name] for name in ("name", "id_number", "phone", "password")}
    await door.post("/v1/accounts", body, status=201)
    await door.sign_in(person.phone, person.password)
    return door


async def prepare(journey: Journey, person: Person) -> dict[str, Any]:
    """A draft with everything in it: form, address, documents. Returns the case."""
    door = await journey.door(CITIZEN)
    await steps.find_item(journey)
    address = {"name": person.receiver, "mobile": person.mobile, "street": person.street}
    kept = await door.post("/v1/addresses", address, status=201)
    case = await door.post("/v1/cases", {"item_code": steps.ITEM, "region": "310115"}, status=201)
    journey.facts |= {"case_id": case["id"], "address_id": kept["id"]}
    form = {}
    for asked in journey.facts["item"]["form_fields"]:
        texts = {"text": person.shop, "phone": person.mobile}
        form[asked["name"]] = texts.get(asked["type"]) or steps._value(asked)
    change = {"form": form, "delivery": "courier", "address_id": kept["id"]}
    match = {"if-match": f'"{case["version"]}"', "idempotency-key": f"save-{case['id']}"}
    await door.call("PATCH", f"/v1/cases/{case['id']}", body=change, headers=match)
    for slot in case["materials"]:
        if slot["state"] == "needed" and slot["necessity"] == "required":
            path = f"/v1/cases/{case['id']}/materials/{slot['id']}"
            await door.call("PUT", path, content=document(person))
    whole: dict[str, Any] = await journey.case()
    return whole


async def live_through(cast: Cast, person: Person) -> Story:
    """From registration to rating. Raises Failed when something does not go as it must."""
    stage = Stage(cast.place)
    try:
        stage.doors[CITIZEN] = await register(cast, person)
        journey = Journey(stage)
        await prepare(journey, person)
        for step in (
            steps.submit,
            steps.accept,
            steps.review,
            steps.pay,
            steps.decide,
            steps.show_licence,
            steps.courier,
        ):
            await step(journey)
        account_id = await cast.account_id(person.phone)
        story = Story(person, account_id, journey)
        await _remember(story)
    finally:
        await stage.close()
    cast.owner = account_id
    return story


async def _remember(story: Story) -> None:
    journey, person = story.journey, story.person
    door, case = await journey.door(CITIZEN), await journey.case()

    async def invited() -> Any:
        items = (await door.get(f"/v1/ratings?case_id={journey.case_id}"))["items"]
        return items[0] if items else None

    rating = await until(invited, "no invitation to rate")
    opinion = {"score": 4, "comment": person.comment}
    await door.post(f"/v1/ratings/{rating['id']}/submit", opinion)
    licence_id = case["licence_id"]
    present = {"purpose": person.purpose}
    shown = await door.post(f"/v1/licences/{licence_id}/present", present, status=201)
    shipments = await door.get(f"/v1/shipments?case_id={journey.case_id}")
    task = next(task for task in case["tasks"] if task["dept"] == "SAMR")
    slot = next(slot for slot in case["materials"] if slot["state"] == "uploaded")
    story.ids = {
        "account_id": story.account_id,
        "case_id": journey.case_id,
        "slot_id": slot["id"],
        "task_id": task["id"],
        "payment_id": journey.facts["payment_id"],
        "licence_id": licence_id,
        "presentation_id": shown["id"],
        "shipment_id": shipments["items"][0]["id"],
        "rating_id": rating["id"],
        "address_id": journey.facts["address_id"],
    }


async def a_firm(cast: Cast) -> str:
    """The account of a firm that 张三 of the demonstration represents."""
    answer = await cast.client.post(
        f"{cast.place.gateway}/v1/firm-claims",
        json={"uscc": "91310115MA1K3AB43E", "name": "上海浦江味道餐饮管理有限公司"},
        headers={"authorization": f"Bearer {cast.token('other', sub='acc_zhangsan')}"},
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])
