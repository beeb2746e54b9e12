"""What everyone may read: shape, caching, pages, strange input."""

import re
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import event, func, select

from catalog_svc.models import ItemVersion, Synonym
from catalog_svc.schemas import ItemBrief, ItemDetail
from catalog_svc.seed import rows, seed
from kit.outbox import Outbox
from kit.testing import Running


async def test_food_licence_has_what_a_case_needs(catalog: Running) -> None:
    answer = await catalog.client.get("/v1/items/A05")
    assert answer.status_code == 200
    item = answer.json()
    ItemDetail.model_validate(item)
    assert item["version"] == 1
    assert item["state"] == "published"
    assert item["dept"] == "SAMR"
    assert item["review_depts"] == ["SAMR", "FIRE"]
    assert item["review_synthetic"] is True
    assert (item["promise_days"], item["statutory_days"]) == (5, 10)
    assert item["fee"] == {
        "code": "A05-FEE",
        "amount_fen": 5000,
        "synthetic": True,
        "note": "演示费用,并非真实收费标准",
    }
    assert (item["licence_type"], item["licence_years"]) == ("LT-FOOD", 5)
    assert item["delivery"] == ["courier", "counter"]
    assert item["applicant_kinds"] == ["person", "enterprise"]
    materials = {m["id"]: m for m in item["materials"]}
    assert materials["BIZ"]["name"] == "营业执照"
    assert materials["BIZ"]["licence_type"] == "LT-BIZ"
    assert materials["HEALTH"]["necessity"] == "optional"
    fields = {f["name"]: f for f in item["form_fields"]}
    assert fields["business_name"]["prefill"] == "licence.LT-BIZ.name"
    assert {"value": "hot_food", "label": "热食类食品制售"} in fields["business_scope"]["options"]


async def test_every_item_is_complete(catalog: Running) -> None:
    for row in rows("items"):
        item = (await catalog.client.get(f"/v1/items/{row['code']}")).json()
        ItemDetail.model_validate(item)
        assert item["review_depts"][0] == item["dept"]
        assert item["form_fields"]
        assert item["statutory_days"] >= 0
        assert item["codes_synthetic"] is True
        assert all(material["name"] for material in item["materials"])


async def test_an_item_is_cached_by_its_etag(catalog: Running) -> None:
    first = await catalog.client.get("/v1/items/A05")
    assert first.headers["cache-control"] == "public, max-age=60"
    tag = first.headers["etag"]
    for sent in (tag, f'"other", W/{tag}', "*"):
        again = await catalog.client.get("/v1/items/A05", headers={"if-none-match": sent})
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["etag"] == tag
    other = await catalog.client.get("/v1/items/A05", headers={"if-none-match": '"999"'})
    assert other.status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/items", "/v1/items?q=开饭店", "/v1/items/A05/versions", "/v1/items/A05/versions/1",
     "/v1/packages", "/v1/regions", "/v1/calendars/2026"],
)  # fmt: skip
async def test_every_public_answer_can_be_cached(catalog: Running, path: str) -> None:
    first = await catalog.client.get(path)
    assert first.status_code == 200
    assert first.headers["cache-control"].startswith("public")
    again = await catalog.client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304


async def test_pages_give_every_item_once(catalog: Running) -> None:
    codes: list[str] = []
    path = "/v1/items?limit=10"
    while path:
        page = (await catalog.client.get(path)).json()
        for row in page["items"]:
            ItemBrief.model_validate(row)
            codes.append(row["code"])
        path = page["next"]
    assert codes == sorted(row["code"] for row in rows("items"))


async def test_search_pages_give_every_hit_once_in_order(catalog: Running) -> None:
    whole = (await catalog.client.get("/v1/items?q=许可&limit=100")).json()
    assert whole["next"] is None
    codes: list[str] = []
    path = "/v1/items?q=许可&limit=3"
    while path:
        page = (await catalog.client.get(path)).json()
        codes += [row["code"] for row in page["items"]]
        path = page["next"]
    assert codes == [row["code"] for row in whole["items"]]
    assert len(codes) > 10


async def test_filters(catalog: Running) -> None:
    page = (await catalog.client.get("/v1/items?dept=PSB&kind=enterprise&limit=100")).json()
    assert page["items"]
    assert all(row["dept"] == "PSB" for row in page["items"])
    assert all("enterprise" in row["applicant_kinds"] for row in page["items"])
    found = (await catalog.client.get("/v1/items?q=登记&dept=MCA")).json()["items"]
    assert {row["dept"] for row in found} == {"MCA"}


async def test_a_cursor_belongs_to_its_query(catalog: Running) -> None:
    first = await catalog.client.get("/v1/items?limit=1")
    link = first.json()["next"]
    assert first.links["next"]["url"] == link
    cursor = re.search(r"cursor=([^&]+)", link)
    assert cursor is not None
    for wrong in (f"/v1/items?q=登记&cursor={cursor[1]}", "/v1/items?cursor=AAAA"):
        answer = await catalog.client.get(wrong)
        assert answer.status_code == 400
        assert answer.json()["code"] == "bad_cursor"


@pytest.mark.parametrize(
    "path",
    ["/v1/items/NOPE", "/v1/items/A05/versions/2", "/v1/items/NOPE/versions"],
)
async def test_what_is_not_there(catalog: Running, path: str) -> None:
    answer = await catalog.client.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize(
    "path",
    ["/v1/items?q=%00", "/v1/items/a05", "/v1/items/A05/versions/0", "/v1/calendars/1999",
     "/v1/calendars/x", "/v1/items?kind=dog", "/v1/items?limit=0", f"/v1/items?q={'开' * 101}",
     "/v1/items?dept=%27"],
)  # fmt: skip
async def test_bad_input_is_told_not_echoed(catalog: Running, path: str) -> None:
    answer = await catalog.client.get(path)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"]


@pytest.mark.parametrize("q", ["'", "\\", "a'b & !c | (", "😀", "<->", "%", "  ", "１２３"])
async def test_strange_queries_find_nothing_and_break_nothing(catalog: Running, q: str) -> None:
    answer = await catalog.client.get(f"/v1/items?q={quote(q)}")
    assert answer.status_code == 200
    assert answer.json()["items"] == []


async def test_a_limit_is_clamped(catalog: Running) -> None:
    page = (await catalog.client.get("/v1/items?limit=100000")).json()
    assert len(page["items"]) == 97


async def test_regions_packages_calendar(catalog: Running) -> None:
    regions = (await catalog.client.get("/v1/regions")).json()["items"]
    assert len(regions) == 16
    assert {"code": "310115", "name": "浦东新区", "parent": "310000"} in regions
    packages = (await catalog.client.get("/v1/packages")).json()["items"]
    known = {row["code"] for row in rows("items")}
    assert len(packages) == 8
    assert all(step["item"] in known for package in packages for step in package["steps"])
    year = (await catalog.client.get("/v1/calendars/2026")).json()
    assert (year["status"], year["working_days"]) == ("official", 248)
    makeup = [day["day"] for day in year["special_days"] if day["kind"] == "makeup"]
    assert makeup[-1] == "2026-10-10"
    assert (await catalog.client.get("/v1/calendars/2027")).json()["status"] == "estimated"


async def test_seeding_again_changes_nothing(catalog: Running) -> None:
    async def counts() -> list[int | None]:
        async with catalog.runtime.sessions() as session:
            tables = (ItemVersion, Synonym, Outbox)
            return [await session.scalar(select(func.count()).select_from(t)) for t in tables]

    before = await counts()
    await seed(catalog.runtime)
    assert await counts() == before
    assert before[0] == before[2] == 97


@pytest.mark.parametrize(
    ("path", "most"),
    [("/v1/packages", 1), ("/v1/items?limit=100", 1), ("/v1/items?q=开饭店&limit=100", 2)],
)
async def test_reading_takes_few_statements(catalog: Running, path: str, most: int) -> None:
    statements: list[str] = []

    def count(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    engine = catalog.runtime.engine.sync_engine
    event.listen(engine, "before_cursor_execute", count)
    try:
        assert (await catalog.client.get(path)).status_code == 200
    finally:
        event.remove(engine, "before_cursor_execute", count)
    assert 1 <= len([s for s in statements if "outbox" not in s]) <= most
