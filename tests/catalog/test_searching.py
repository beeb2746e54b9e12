"""Finding items by everyday words: the tokens, the figures, and the queries that find nothing."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select

from catalog_svc import searches, synonyms, words
from catalog_svc.models import Department, Item, SearchEntry, SearchMiss, Synonym
from catalog_svc.seed import rows, seed
from kit.testing import Ground, Running

EVERYDAY = {
    "想开个小饭馆": "A05",
    "开奶茶店要什么证": "A05",
    "食品证快到期了": "A07",
    "给宝宝上户口": "B01",
    "身份证丢了怎么办": "B02",
    "办护照": "B03",
    "狗证": "B11",
    "公司不干了想注销": "A04",
    "二手房过户": "H01",
    "领失业金": "E02",
    "我想退休领养老金": "E11",
    "孩子上小学报名": "P02",
    "开网约车": "O02",
    "刻公章": "B09",
    "开药店": "A11",
    "租房提公积金": "T01",
    "异地看病报销": "F02",
    "老人家的补贴": "D05",
    "店招牌备案": "L01",
    "装充电桩": "O04",
    "换驾照": "B06",
    "当老师要考什么证": "P01",
    "打官司请不起律师": "Q01",
    "小孩医保": "F01",
    "结婚领证": "D01",
    "开KTV": "R01",
    "卖香烟": "S01",
    "开宠物医院": "W01",
    "工地施工许可": "J01",
    "残疾证": "U01",
    "食品经营许可": "A05",
    "营业执召": "A01",
}


class Figures:
    """hit@5 and the mean reciprocal rank over queries."""

    def __init__(self) -> None:
        self.ranks: list[int | None] = []
        self.missed: list[str] = []

    def add(self, query: str, found: list[str], right: Callable[[str], Any]) -> None:
        rank = next((place for place, name in enumerate(found, 1) if right(name)), None)
        self.ranks.append(rank)
        if rank is None or rank > 5:
            self.missed.append(query)

    @property
    def hit5(self) -> float:
        return sum(rank is not None and rank <= 5 for rank in self.ranks) / len(self.ranks)

    @property
    def mrr(self) -> float:
        return sum(1 / rank for rank in self.ranks if rank) / len(self.ranks)

    def __str__(self) -> str:
        return f"hit@5 {self.hit5:.2f}, MRR {self.mrr:.2f}, missed: {self.missed}"


async def test_everyday_words_find_the_seeded_items(catalog: Running) -> None:
    figures = Figures()
    for query, code in EVERYDAY.items():
        page = (await catalog.client.get("/v1/items", params={"q": query, "limit": 10})).json()
        found = [row["code"] for row in page["items"]]
        figures.add(query, found, lambda hit, code=code: hit == code)  # type: ignore[misc]
    assert figures.hit5 == 1.0, figures
    assert figures.mrr >= 0.9, figures


async def test_the_journey_starts_with_two_words(catalog: Running) -> None:
    page = (await catalog.client.get("/v1/items?q=开饭店")).json()
    assert page["items"][0]["code"] == "A05"


async def test_it_finds_real_items_of_a_district(ground: Ground, nats_url: str) -> None:
    """BEAM_SEARCH_CORPUS: a folder with `guangan-items.json` ([{name, …}], names of real items)
    and `search-queries.json` ({queries: [{q, gold_regex}]}). It is not ours to ship."""
    folder = os.environ.get("BEAM_SEARCH_CORPUS")
    if not folder:
        pytest.skip("BEAM_SEARCH_CORPUS does not name a folder with a corpus of real items")
    names = [row["name"] for row in json.loads((Path(folder) / "guangan-items.json").read_text())]
    queries = json.loads((Path(folder) / "search-queries.json").read_text())["queries"]
    async with ground.service("catalog_svc", nats=nats_url) as catalog:
        async with catalog.runtime.sessions.begin() as session:
            said = [synonyms.row_of(r["term"], r["means"]) for r in rows("synonyms")]
            await session.execute(synonyms.adding(said))
            await _index_names(session, names)
        figures = Figures()
        for query in queries:
            params = {"q": query["q"], "limit": 10}
            page = (await catalog.client.get("/v1/items", params=params)).json()
            found = [row["name"] for row in page["items"]]
            figures.add(query["q"], found, re.compile(query["gold_regex"]).search)
    print(figures)
    assert figures.hit5 >= 0.97, figures
    assert figures.mrr >= 0.85, figures


async def _index_names(session: Any, names: list[str]) -> None:
    await session.execute(
        insert(Department).values(code="X", name="X", uscc="X", uscc_synthetic=True)
    )
    codes = [f"X{place}" for place in range(len(names))]
    await session.execute(insert(Item), [{"code": c, "dept": "X", "version": 1} for c in codes])
    for code, name in zip(codes, names, strict=True):
        normal = words.normalised(name)
        entry = {
            "code": code, "dept": "X", "kinds": [], "brief": {"name": name}, "terms": [],
            "size": len(words.grams(normal)), "words": searches.vector(words.words(normal)),
            "grams": searches.vector(words.grams(normal)),
        }  # fmt: skip
        await session.execute(insert(SearchEntry).values(entry))


async def test_synonyms_are_data_that_operators_edit(catalog: Running) -> None:
    query = {"q": "搓澡堂子"}
    assert (await catalog.client.get("/v1/items", params=query)).json()["items"] == []
    async with catalog.runtime.sessions.begin() as session:
        session.add(Synonym(**synonyms.row_of("搓澡堂子", ["公共场所卫生许可"])))
    found = (await catalog.client.get("/v1/items", params=query)).json()["items"]
    assert found[0]["code"] == "C03"


async def test_operators_edit_the_synonyms(catalog: Running, ground: Ground) -> None:
    operator = ground.staff("operator", "SAMR")
    query = {"q": "泡汤池子"}
    assert (await catalog.client.get("/v1/items", params=query)).json()["items"] == []
    path = "/v1/items/search/synonyms/泡汤池子"
    put = await catalog.client.put(path, json={"means": ["公共场所卫生许可"]}, headers=operator)
    assert put.status_code == 200
    assert put.json() == {"term": "泡汤池子", "means": ["公共场所卫生许可"]}
    found = (await catalog.client.get("/v1/items", params=query)).json()["items"]
    assert found[0]["code"] == "C03"
    every: list[str] = []
    link = "/v1/items/search/synonyms?limit=50"
    while link:
        page = (await catalog.client.get(link, headers=operator)).json()
        every += [row["term"] for row in page["items"]]
        link = page["next"]
    assert "泡汤池子" in every
    assert every == sorted(set(every))
    assert (await catalog.client.delete(path, headers=operator)).status_code == 204
    assert (await catalog.client.get("/v1/items", params=query)).json()["items"] == []
    assert (await catalog.client.delete(path, headers=operator)).status_code == 404
    nothing = await catalog.client.put(
        "/v1/items/search/synonyms/!!", json={"means": ["许可"]}, headers=operator
    )
    assert nothing.status_code == 422


async def test_only_operators_see_synonyms_and_misses(catalog: Running, ground: Ground) -> None:
    for path in ("synonyms", "misses"):
        for headers, status in ((ground.staff("reviewer", "SAMR"), 403), ({}, 401)):
            answer = await catalog.client.get(f"/v1/items/search/{path}", headers=headers)
            assert answer.status_code == status


async def test_misses_are_counted_without_telling_who_asked(ground: Ground, nats_url: str) -> None:
    async with ground.service("catalog_svc", nats=nats_url) as catalog:
        await seed(catalog.runtime)
        misses = catalog.runtime.parts["misses"]

        async def ask(query: str, times: int) -> None:
            for _ in range(times):
                page = await catalog.client.get("/v1/items", params={"q": query})
                assert page.json()["items"] == []
            await misses.keep(catalog.runtime.sessions)

        async def kept() -> dict[str | None, int]:
            async with catalog.runtime.sessions() as session:
                found = await session.execute(select(SearchMiss.text, SearchMiss.count))
                return {row[0]: row[1] for row in found}

        await ask("飞碟", 4)
        assert await kept() == {None: 4}
        await ask("飞碟", 1)
        assert await kept() == {"飞碟": 5}
        operator = ground.staff("operator", "SAMR")
        told = (await catalog.client.get("/v1/items/search/misses", headers=operator)).json()
        assert [(miss["text"], miss["count"]) for miss in told["items"]] == [("飞碟", 5)]
        await ask("310115198001019999", 20)
        assert await kept() == {"飞碟": 5, None: 20}
        async with catalog.runtime.sessions() as session:
            digests = (await session.scalars(select(SearchMiss.digest))).all()
        assert not any("310115" in digest for digest in digests)


async def test_misses_that_cannot_be_kept_wait(ground: Ground, nats_url: str) -> None:
    async with ground.service("catalog_svc", nats=nats_url) as catalog:
        misses = catalog.runtime.parts["misses"]
        misses.note("飞碟")

        class Down:
            def begin(self) -> Any:
                raise ConnectionError("no database")

        with pytest.raises(ConnectionError):
            await misses.keep(Down())
        await misses.keep(catalog.runtime.sessions)
        async with catalog.runtime.sessions() as session:
            assert (await session.scalars(select(SearchMiss.count))).all() == [1]


@given(st.text(max_size=80))
def test_tokens_are_safe_to_quote_and_the_same_for_index_and_query(query: str) -> None:
    normal = words.normalised(query)
    assert words.normalised(normal) == normal
    tokens = words.words(words.asked(query)) + words.grams(words.asked(query))
    for token in tokens:
        assert re.fullmatch(r"[0-9a-z\u3400-\u9fff]+", token)
    assert len(set(words.grams(normal))) == len(words.grams(normal))


def test_the_words_of_asking_are_left_out() -> None:
    assert words.asked("我想开饭店，要办什么证？") == "开饭店 证"
    assert words.asked("怎么办") == "怎么办"
    assert words.words(words.normalised("ＫＴＶ")) == ["ktv"]
    assert words.grams("开饭店") == ["开饭", "饭店"]
