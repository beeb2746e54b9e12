"""The guide: what people do is found by their own words, and told in plain ones."""

from typing import Any

from gateway.pages import guide
from kit.views import View

from .conftest import Door, Recorder, bound, gateway_of, port_of, request, talk
from .test_pages import Outline

FOOD = {
    "code": "A05", "name": "食品经营许可<新办>", "dept_name": "市场监管局", "promise_days": 5,
    "promise_unit": "working_day", "statutory_days": 10, "statutory_unit": "working_day",
    "statutory_known": True, "fee": {"amount_fen": 5000, "note": "演示费用"}, "visits": 0,
    "applicant_kinds": ["person", "enterprise"], "delivery": ["courier"],
    "result_name": "食品经营许可证", "handle_area": "全市通办",
    "materials": [
        {"kind": "form", "name": "申请表", "source": "applicant", "necessity": "required"},
        {"kind": "other", "name": "设施布局图", "source": "applicant", "necessity": "optional"},
        {"kind": "certificate", "name": "营业执照", "source": "government",
         "necessity": "required"},
    ],
    "form_fields": [
        {"label": "经营者名称", "prefill": "licence.LT-BIZ.name", "required": True},
        {"label": "补充说明", "prefill": None, "required": False},
    ],
    "legal_basis": ["《食品安全法》第三十五条"],
}  # fmt: skip


def test_an_item_says_what_is_asked_and_what_is_not() -> None:
    page = guide.item(FOOD, View())
    Outline(page)
    for text in (
        "食品经营许可&lt;新办&gt;", "5 个工作日", "法律规定最长 10 个工作日", "50.00 元",
        "个人、企业", "快递到家", "要跑几趟</dt><dd>不用跑", "设施布局图</span>(没有也可以)",
        "补充说明</span>(可不填)", "经营者名称</span>(自动填好,您核对)", "第三十五条",
    ):  # fmt: skip
        assert text in page, text
    brought, _, held = page.partition("不用您交")
    assert "营业执照" in held
    assert "营业执照" not in brought
    assert "申请表" not in page
    assert "手机应用" in guide.item({**FOOD, "online_depth": "IV"}, View())
    assert "手机应用" not in page
    assert "/" in Outline(page).links
    assert "演示资料" in guide.item({**FOOD, "limits_verified": False}, View())
    english = guide.item(FOOD, View(english=True))
    for text in ("5 working days", "CNY 50.00", "people, firms", '<h1 lang="zh-CN">'):
        assert text in english, text


def test_an_item_that_says_little_is_a_page_all_the_same() -> None:
    page = guide.item({"code": "X", "name": "某事", "dept_name": "某局"}, View())
    Outline(page)
    assert "什么都不用带" in page
    assert "免费" in page
    assert "None" not in page


LINE = {"code": "A05", "name": "甲", "dept_name": "局", "promise_days": 1,
        "promise_unit": "natural_day", "fee_fen": 0}  # fmt: skip


def test_what_was_found_leads_on_and_keeps_what_was_typed() -> None:
    said = {"items": [LINE], "next": "/v1/items?q=%E7%94%B2&limit=20&cursor=a_b"}
    page = guide.found('甲"<b>', said, View())
    outline = Outline(page)
    assert 'value="甲&quot;&lt;b&gt;"' in page
    assert "/items/A05" in outline.links
    assert any(link.startswith("/find?") and "cursor=a_b" in link for link in outline.links)
    assert "1 个自然日 · 免费" in page
    assert "1 day · free" in guide.found("x", said, View(english=True))


def test_nothing_found_says_what_to_do() -> None:
    page = guide.found("xyz", {"items": [], "next": None}, View())
    outline = Outline(page)
    assert {"/find", "tel:12345"} <= set(outline.links)
    assert "换个说法" in page
    assert 'value="xyz"' in page


async def test_the_catalogue_is_asked_without_what_the_browser_sent(
    shared_door: Door, shared_recorder: Recorder, keys: Any
) -> None:
    raw = request(path="/items/404", Cookie=f"beam_ops={keys.token()}; beam_text=large")
    [answer] = await talk(shared_door.port, raw)
    assert answer.status == 404
    asked = shared_recorder.seen[-1]
    assert asked.target == b"/v1/items/404"
    assert not asked.header("cookie")
    assert not asked.header("authorization")
    assert asked.header("x-request-id") == [answer.header("x-request-id")]
    [answer] = await talk(shared_door.port, request(path="/find?q=%E6%89%8B%20&limit=9"))
    target = shared_recorder.seen[-1].target
    assert target == b"/v1/items?limit=20&q=%E6%89%8B"


async def test_while_the_catalogue_is_away_it_says_so(keys: Any) -> None:
    nowhere = bound()
    async with gateway_of(keys, port_of(nowhere)) as door:
        for path in ("/find?q=x", "/items/A05"):
            [answer] = await talk(door.port, request(path=path))
            assert answer.status == 503
            assert answer.header("retry-after")
            assert "暂时打不开" in answer.body.decode()
            assert "tel:12345" in Outline(answer.body.decode()).links
    nowhere.close()


async def test_the_first_page_begins_with_the_search(shared_door: Door) -> None:
    [answer] = await talk(shared_door.port, request(path="/"))
    page = answer.body.decode()
    assert page.index('action="/find"') < page.index("/docs")
    assert "form-action 'self'" in (answer.header("content-security-policy") or "")
