"""Writing the catalogue: who may, four eyes, frozen versions, one in force at a time."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from catalog_svc.models import TRANSITIONS, ItemVersion, VersionState
from catalog_svc.seed import rows
from kit.outbox import Outbox
from kit.testing import Ground, Running, key

Headers = dict[str, str]


@pytest.fixture
def editor(ground: Ground) -> Headers:
    return ground.staff("operator", "SAMR", "stf_editor")


@pytest.fixture
def publisher(ground: Ground) -> Headers:
    return ground.staff("supervisor", "SAMR", "stf_publisher")


async def draft_of(catalog: Running, code: str, who: Headers) -> dict[str, Any]:
    answer = await catalog.client.post(f"/v1/items/{code}/drafts", headers={**who, **key()})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body | {"etag": answer.headers["etag"]}


async def act(catalog: Running, path: str, who: Headers) -> Any:
    return await catalog.client.post(f"/v1/items/{path}", headers=who)


async def events_of(catalog: Running, code: str) -> list[str]:
    async with catalog.runtime.sessions() as session:
        query = select(Outbox.subject, Outbox.body).order_by(Outbox.seq)
        found = await session.execute(query)
        return [row.subject for row in found if f'"{code}"' in row.body]


async def test_a_new_version_takes_over(
    catalog: Running, editor: Headers, publisher: Headers
) -> None:
    before = await catalog.client.get("/v1/items/A06")
    draft = await draft_of(catalog, "A06", editor)
    assert (draft["number"], draft["state"]) == (2, "draft")
    path = f"A06/drafts/{draft['number']}"
    changed = await catalog.client.patch(
        f"/v1/items/{path}",
        json={"content": {"promise_days": 2, "everyday_terms": ["换招牌名字"]}},
        headers={**editor, "if-match": draft["etag"]},
    )
    assert changed.status_code == 200, changed.text
    assert (await catalog.client.get("/v1/items/A06")).json() == before.json()

    assert (await act(catalog, f"{path}/submit", editor)).json()["state"] == "in_review"
    own = await act(catalog, f"{path}/publish", editor)
    assert (own.status_code, own.json()["code"]) == (403, "four_eyes")
    done = await act(catalog, f"{path}/publish", publisher)
    assert done.json()["state"] == "published"

    after = await catalog.client.get("/v1/items/A06")
    assert (after.json()["version"], after.json()["promise_days"]) == (2, 2)
    assert after.json()["materials"][0]["name"]
    assert after.headers["etag"] != before.headers["etag"]
    versions = (await catalog.client.get("/v1/items/A06/versions")).json()["items"]
    assert [(v["number"], v["state"]) for v in versions] == [(2, "published"), (1, "superseded")]
    assert versions[1]["valid_to"] == versions[0]["valid_from"]
    old = (await catalog.client.get("/v1/items/A06/versions/1")).json()
    assert old["promise_days"] == 3
    hits = (await catalog.client.get("/v1/items?q=换招牌名字")).json()["items"]
    assert hits[0]["code"] == "A06"
    assert await events_of(catalog, "A06") == [
        "evt.catalog.item_published.v1.310000.SAMR",
        "evt.catalog.item_published.v1.310000.SAMR",
    ]


async def test_an_edit_needs_the_version_that_was_seen(catalog: Running, editor: Headers) -> None:
    draft = await draft_of(catalog, "A07", editor)
    path = f"/v1/items/A07/drafts/{draft['number']}"
    change = {"content": {"promise_days": 1}}
    blind = await catalog.client.patch(path, json=change, headers=editor)
    assert (blind.status_code, blind.json()["code"]) == (428, "condition_required")
    seen = {**editor, "if-match": draft["etag"]}
    assert (await catalog.client.patch(path, json=change, headers=seen)).status_code == 200
    stale = await catalog.client.patch(path, json=change, headers=seen)
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")
    second = await catalog.client.post("/v1/items/A07/drafts", headers={**editor, **key()})
    assert second.status_code == 409
    assert (await act(catalog, f"A07/drafts/{draft['number']}/discard", editor)).status_code == 200
    assert (await draft_of(catalog, "A07", editor))["number"] == draft["number"] + 1


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"promise_days": 21}, "/content"),
        ({"promise_days": -1}, "/content/promise_days"),
        ({"task_code": "11310000MB9000015X4310100008000"}, "/content"),
        ({"task_code": "1"}, "/content"),
        ({"nonsense": 1}, "/content/nonsense"),
        ({"name": ""}, "/content/name"),
        ({"task_type": "99"}, "/content/task_type"),
        ({"fee": {"code": "F", "amount_fen": 1.5, "synthetic": True}}, "/content/fee/amount_fen"),
        ({"form_fields": [{"name": "a", "label": "甲", "type": "enum", "required": True}]},
         "/content/form_fields/0"),
    ],
)  # fmt: skip
async def test_content_that_does_not_hold_together_is_refused(
    catalog: Running, editor: Headers, change: dict[str, Any], pointer: str
) -> None:
    async with catalog.runtime.sessions() as session:
        number = await session.scalar(
            select(ItemVersion.number).where(
                ItemVersion.item_code == "A11", ItemVersion.state == "draft"
            )
        )
    draft = number or (await draft_of(catalog, "A11", editor))["number"]
    path = f"/v1/items/A11/drafts/{draft}"
    tag = (await catalog.client.get(path, headers=editor)).headers["etag"]
    answer = await catalog.client.patch(
        path, json={"content": change}, headers={**editor, "if-match": tag}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert "11310000MB9000015X" not in answer.text


async def test_unknown_materials_and_departments_stop_publication(
    catalog: Running, editor: Headers, publisher: Headers
) -> None:
    draft = await draft_of(catalog, "A10", editor)
    path = f"A10/drafts/{draft['number']}"
    await catalog.client.patch(
        f"/v1/items/{path}",
        json={"content": {"review_depts": ["SAMR", "NOSUCH"]}},
        headers={**editor, "if-match": draft["etag"]},
    )
    await act(catalog, f"{path}/submit", editor)
    answer = await act(catalog, f"{path}/publish", publisher)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/content/review_depts/1"
    assert (await catalog.client.get("/v1/items/A10")).json()["version"] == 1
    assert (await act(catalog, f"{path}/return", publisher)).json()["state"] == "draft"


async def test_only_the_items_own_department_writes(catalog: Running, ground: Ground) -> None:
    outsiders = [
        (ground.staff("supervisor", "PSB"), 403),
        (ground.staff("operator", "PSB"), 403),
        (ground.staff("reviewer", "SAMR"), 403),
        (ground.person(), 403),
        ({}, 401),
    ]
    for headers, status in outsiders:
        for path in ("A05/drafts", "A05/suspend", "A05/withdraw"):
            answer = await catalog.client.post(f"/v1/items/{path}", headers={**headers, **key()})
            assert answer.status_code == status, path
    assert (await catalog.client.get("/v1/items/A05")).json()["state"] == "published"


async def test_drafts_are_not_public(catalog: Running, editor: Headers, ground: Ground) -> None:
    draft = await draft_of(catalog, "A12", editor)
    number = draft["number"]
    assert (await catalog.client.get(f"/v1/items/A12/versions/{number}")).status_code == 404
    assert (await catalog.client.get(f"/v1/items/A12/drafts/{number}")).status_code == 401
    other = ground.staff("supervisor", "PSB")
    answer = await catalog.client.get(f"/v1/items/A12/drafts/{number}", headers=other)
    assert answer.status_code == 403


async def test_suspend_resume_withdraw(catalog: Running, publisher: Headers) -> None:
    async def listed() -> bool:
        page = (await catalog.client.get("/v1/items?dept=SAMR&limit=100")).json()
        return "A08" in [row["code"] for row in page["items"]]

    assert (await act(catalog, "A08/resume", publisher)).status_code == 409
    assert (await act(catalog, "A08/suspend", publisher)).json()["state"] == "suspended"
    assert (await catalog.client.get("/v1/items/A08")).json()["state"] == "suspended"
    assert not await listed()
    assert (await act(catalog, "A08/resume", publisher)).json()["state"] == "published"
    assert await listed()
    assert (await act(catalog, "A08/withdraw", publisher)).json()["state"] == "withdrawn"
    assert (await catalog.client.get("/v1/items/A08")).status_code == 404
    assert not await listed()
    assert (await catalog.client.get("/v1/items/A08/versions/1")).json()["state"] == "withdrawn"
    assert [subject.split(".")[2] for subject in await events_of(catalog, "A08")] == [
        "item_published",
        "item_suspended",
        "item_published",
        "item_withdrawn",
    ]


async def test_a_new_item(catalog: Running, editor: Headers, publisher: Headers) -> None:
    content = next(row for row in rows("items") if row["code"] == "A09")
    content = {k: v for k, v in content.items() if k not in ("code", "dept")}
    body = {"code": "A99", "dept": "SAMR", "content": content | {"name": "试点事项登记"}}
    headers = {**editor, **key()}
    first = await catalog.client.post("/v1/items", json=body, headers=headers)
    again = await catalog.client.post("/v1/items", json=body, headers=headers)
    assert first.status_code == again.status_code == 201
    race = body | {"code": "A98"}
    posts = (
        catalog.client.post("/v1/items", json=race, headers={**editor, **key()}) for _ in "abc"
    )
    answers = await asyncio.gather(*posts)
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    taken = await catalog.client.post("/v1/items", json=body, headers={**editor, **key()})
    assert taken.status_code == 409
    assert (await catalog.client.get("/v1/items/A99")).status_code == 404
    await act(catalog, "A99/drafts/1/submit", editor)
    await act(catalog, "A99/drafts/1/publish", publisher)
    assert (await catalog.client.get("/v1/items/A99")).json()["name"] == "试点事项登记"


async def test_two_publications_at_once_leave_one_version_in_force(
    catalog: Running, editor: Headers, publisher: Headers
) -> None:
    draft = await draft_of(catalog, "A04", editor)
    path = f"A04/drafts/{draft['number']}"
    await act(catalog, f"{path}/submit", editor)
    answers = await asyncio.gather(*(act(catalog, f"{path}/publish", publisher) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]
    versions = (await catalog.client.get("/v1/items/A04/versions")).json()["items"]
    assert [v["state"] for v in versions] == ["published", "superseded"]


async def test_the_database_keeps_published_versions_as_they_are(catalog: Running) -> None:
    sessions = catalog.runtime.sessions
    published = (ItemVersion.item_code == "A01") & (ItemVersion.number == 1)
    changes: list[dict[str, Any]] = [
        {"content": {}},
        {"valid_from": func.now()},
        {"number": 9},
    ]
    for change in changes:
        with pytest.raises(DBAPIError, match="never changes"):
            async with sessions.begin() as session:
                await session.execute(update(ItemVersion).where(published).values(change))
    with pytest.raises(DBAPIError, match="never changes"):
        async with sessions.begin() as session:
            await session.execute(text("delete from item_version where item_code = 'A01'"))


async def test_the_database_refuses_overlapping_validity(catalog: Running) -> None:
    row = (
        "insert into item_version (id, item_code, item_number, number, state, version, region,"
        " dept, content, valid_from, valid_to, edited_by) select 'x', code, number, 7,"
        " 'superseded', 1, '310000', 'SAMR', '{}', now() + '1 h', null, 's' from item"
        " where code = 'A01'"
    )
    async with catalog.runtime.sessions() as session:
        with pytest.raises(IntegrityError, match="item_version_one_in_force"):
            await session.execute(text(row))


def test_every_state_can_be_reached_and_the_ends_are_ends() -> None:
    targets = {target for target, _ in TRANSITIONS.values()}
    assert targets | {"draft"} == set(VersionState)
    sources = {source for source, _ in TRANSITIONS}
    assert set(VersionState) - sources == {"superseded", "withdrawn"}
