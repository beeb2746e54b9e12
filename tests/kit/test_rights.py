"""Role × department × region × item: the rule for one thing and the condition of a query agree."""

import itertools
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from kit.auth import Caller
from kit.jose import BadToken
from kit.rights import bounds, contains, may, reach
from kit.testing import SCHEME, Ground

PLACES = ("310000", "310100", "310115", "310104", "320000", "000000")


def staff(**claims: object) -> Caller:
    given = {"sub": "stf_1", "jti": "t", "exp": 1, "iat": 0, "kind": "staff"}
    about = {"roles": ["reviewer"], "dept": "SAMR", "region": "310115"}
    return Caller.from_claims({**given, **about, **claims}, "")


@pytest.mark.parametrize(
    ("region", "inside", "outside"),
    [
        ("310115", {"310115"}, {"310000", "310104", "310100"}),
        ("310100", {"310100", "310115", "310104"}, {"310000", "310230", "320100"}),
        ("310000", {"310000", "310100", "310115", "310230"}, {"320000", "300000", "000000"}),
        ("000000", {"000000", "310115", "990000"}, {"_", ""}),
    ],
)
def test_a_region_contains_its_sub_regions(
    region: str, inside: set[str], outside: set[str]
) -> None:
    assert {place for place in inside | outside if contains(region, place)} == inside


def test_bounds_of_one_district_are_itself() -> None:
    assert bounds("310115") == ("310115", "310115")
    assert bounds("310000") == ("310000", "319999")


def test_what_a_role_is_for() -> None:
    reviewer = staff(items=["A05"])
    assert may(reviewer, "reviewer", dept="SAMR", region="310115", item="A05")
    assert may(reviewer, "reviewer")
    for wrong in ({"dept": "FIRE"}, {"region": "310104"}, {"region": "310000"}, {"item": "A06"}):
        assert not may(reviewer, "reviewer", **wrong)
    assert not may(reviewer, "counter")
    assert not may(staff(kind="person"), "reviewer")
    assert may(staff(), "reviewer", item="A06"), "without `items` all of the department"
    assert not may(staff(items=[]), "reviewer", item="A06"), "an empty list is no licence for all"


@pytest.mark.parametrize("items", ["A05", {"A05": 1}, [5], 0])
def test_odd_items_make_no_caller(items: object) -> None:
    with pytest.raises(BadToken):
        staff(items=items)


@pytest.fixture
async def postgres(ground: Ground) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(ground.postgres.dsn("postgres", scheme=SCHEME))
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


async def test_the_condition_agrees_with_the_rule(postgres: AsyncConnection) -> None:
    tried = 0
    for region, items in itertools.product(PLACES, (None, ["A05"], ["A06", "A05"], [])):
        caller = staff(region=region, items=items)
        for dept, place, item in itertools.product(("SAMR", "FIRE"), PLACES, ("A05", "A07")):
            columns = {"dept": literal(dept), "region": literal(place), "item": literal(item)}
            found = await postgres.scalar(select(reach(caller, **columns)))
            assert found == may(caller, "reviewer", dept=dept, region=place, item=item)
            tried += 1
    assert tried > 500


async def test_nobody_reaches_by_what_is_missing(postgres: AsyncConnection) -> None:
    columns = {"dept": literal("SAMR"), "region": literal("310115")}
    assert await postgres.scalar(select(reach(staff(), **columns)))
    without_item = [staff(items=["A05"]), staff(items=[])]
    for caller in (staff(dept=None), staff(region=None), staff(kind="partner"), *without_item):
        assert not await postgres.scalar(select(reach(caller, **columns)))
