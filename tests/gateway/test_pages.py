"""The reference pages: whole, anchored, and nothing of them from outside."""

import gzip
import json
import re
from html import unescape
from html.parser import HTMLParser

import pytest

from beam.programs import SERVICES as PROGRAMS
from gateway.refusals import NAMES, REFUSALS
from gateway.table import OWN, ROUTES
from kit.views import LARGE

from .conftest import Door, Recorder, request, talk

PAGES = ("/", "/docs", "/docs/events", "/docs/errors")


class Outline(HTMLParser):
    """Ids, addresses and open elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "br", "input"):
            self.open.append(tag)
        known = dict(attrs)
        self.ids += [known["id"] or ""] if "id" in known else []
        self.links += [v for k in ("href", "src") if (v := known.get(k))]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def read(door: Door, path: str) -> tuple[str, Outline]:
    [answer] = await talk(door.port, request(path=path))
    assert answer.status == 200
    page = answer.body.decode()
    return page, Outline(page)


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_whole_and_leads_nowhere_outside(shared_door: Door, path: str) -> None:
    _, outline = await read(shared_door, path)
    assert len(set(outline.ids)) == len(outline.ids)
    for link in outline.links:
        assert link.startswith(("/", "#")) or link in ("data:,", "tel:12345"), link
        if link.startswith("#"):
            assert unescape(link[1:]) in outline.ids


@pytest.mark.parametrize("path", PAGES)
async def test_the_policy_of_a_page_is_strict(shared_door: Door, path: str) -> None:
    [answer] = await talk(shared_door.port, request(path=path))
    policy = answer.header("content-security-policy") or ""
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


async def test_what_the_pages_link_is_there(shared_door: Door) -> None:
    for path in PAGES:
        _, outline = await read(shared_door, path)
        for link in {link.partition("#")[0] for link in outline.links if link.startswith("/")}:
            if any(link.startswith(p) for p in ("/v1/events/schemas", "/v1/items", "/.well")):
                continue  # a service answers
            [answer] = await talk(shared_door.port, request(path=link))
            assert answer.status == 200, link


async def test_every_problem_code_has_its_place(shared_door: Door) -> None:
    page, outline = await read(shared_door, "/docs/errors")
    assert set(REFUSALS) | {"stale", "invalid", "four_eyes", "internal"} <= set(outline.ids)
    for refusal in REFUSALS.values():
        assert refusal.title[1] in unescape(page) or refusal.status in (400, 404, 405, 413, 429)
    [answer] = await talk(shared_door.port, request(path="/nothing"))
    where, _, anchor = answer.problem["type"].partition("#")
    assert (where, anchor in outline.ids) == ("/docs/errors", True)


@pytest.mark.parametrize(
    "path", ["/openapi.json", "/v1/events/asyncapi.json", "/docs/assets/swagger-ui-bundle.js"]
)
async def test_what_is_large_is_sent_small_and_once(shared_door: Door, path: str) -> None:
    whole, small, no = await talk(
        shared_door.port,
        request(path=path)
        + request(path=path, Accept_Encoding="br;q=1.0, gzip;q=0.8")
        + request(path=path, Accept_Encoding="gzip;q=0"),
    )
    assert (small.header("content-encoding"), small.header("vary")) == ("gzip", "accept-encoding")
    assert gzip.decompress(small.body) == whole.body == no.body
    assert len(small.body) * 3 < len(whole.body)
    assert whole.header("content-encoding") is no.header("content-encoding") is None
    tag = small.header("etag") or ""
    assert tag == whole.header("etag")
    [again] = await talk(shared_door.port, request(path=path, If_None_Match=tag))
    assert (again.status, again.body) == (304, b"")


async def test_every_event_has_its_place(shared_door: Door, shared_recorder: Recorder) -> None:
    before = len(shared_recorder.seen)
    [answer] = await talk(shared_door.port, request(path="/v1/events/asyncapi.json"))
    document = json.loads(answer.body)
    assert document["asyncapi"] == "3.0.0"
    page, outline = await read(shared_door, "/docs/events")
    assert set(document["channels"]) <= set(outline.ids)
    for section in re.findall(r"<section.*?</section>", page, re.S):
        assert re.search(r"发出 sent by: <code>\w+</code>", section)
        assert "exchange.keep_in_feed" in section
        assert "<caption>data</caption>" in section
    assert len(shared_recorder.seen) == before


async def test_a_wrong_token_does_not_read_what_the_table_guards(shared_door: Door) -> None:
    raw = request(path="/v1/events/asyncapi.json", Authorization="Bearer x.y.z")
    [answer] = await talk(shared_door.port, raw)
    assert answer.status == 401


async def test_no_asset_but_the_three(shared_door: Door) -> None:
    [answer] = await talk(shared_door.port, request(path="/docs/assets/start.js"))
    assert answer.header("content-type") == "text/javascript; charset=utf-8"
    for name in ("VERSION", "settings.py", "%2e%2e"):
        [answer] = await talk(shared_door.port, request(path=f"/docs/assets/{name}"))
        assert answer.status in (400, 404), name


def test_every_route_has_an_owner_that_exists() -> None:
    owners = {program.name for program in PROGRAMS} | {OWN}
    assert {route.service for route in ROUTES} == owners
    assert set(NAMES) == owners


async def test_a_chosen_view_is_kept(shared_door: Door) -> None:
    [plain] = await talk(shared_door.port, request(path="/"))
    assert LARGE not in plain.body.decode()
    assert plain.header("set-cookie") is None
    for path in PAGES:
        [answer] = await talk(shared_door.port, request(path=f"{path}?text=large"))
        assert (answer.header("set-cookie") or "").startswith("beam_text=large; Max-Age=")
        [later] = await talk(shared_door.port, request(path=path, Cookie="beam_text=large"))
        assert "标准版" in later.body.decode()
        assert LARGE in later.body.decode() or "large.css" in later.body.decode()
    [english] = await talk(shared_door.port, request(path="/", Cookie="beam_lang=en"))
    assert '<html lang="en">' in english.body.decode()
    assert "The one door" in english.body.decode()
    [broken] = await talk(shared_door.port, request(path="/", Cookie='beam_text="\\; ;;=large'))
    assert broken.status == 200


@pytest.mark.parametrize("path", ["/", "/docs/errors", "/nothing-here"])
async def test_chinese_is_set_as_it_should_be(shared_door: Door, path: str) -> None:
    """W3C clreq: no line begins with a comma, Latin and Chinese stand apart, no font is fetched."""
    [answer] = await talk(shared_door.port, request(path=path, Accept="text/html"))
    page = answer.body.decode()
    assert "line-break:strict" in page
    assert "text-autospace:normal" in page
    assert "@font-face" not in page


async def test_a_browser_that_opens_nothing_reads_a_page(shared_door: Door) -> None:
    asks = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    [answer] = await talk(shared_door.port, request(path="/my-matters", **asks))
    assert answer.status == 404
    assert (answer.header("content-type") or "").startswith("text/html")
    page = answer.body.decode()
    outline = Outline(page)
    assert "没有这个页面" in page
    assert {"/", "tel:12345"} <= set(outline.links)
    assert answer.header("x-request-id") in page
    [english] = await talk(
        shared_door.port, request(path="/my-matters", **asks, **{"Accept-Language": "en"})
    )
    assert "There is no such page" in english.body.decode()


@pytest.mark.parametrize("path", ["/v1/nothing", "/health/nothing", "/.well-known/nothing"])
async def test_programs_read_a_problem_whatever_they_accept(shared_door: Door, path: str) -> None:
    [answer] = await talk(shared_door.port, request(path=path, Accept="text/html,*/*"))
    assert answer.status == 404
    assert answer.problem["code"] == "not_found"
