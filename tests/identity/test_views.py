"""The language and the size of letters that a person chose stay, on every page and beyond them."""

import re

import pytest

from .conftest import PASSWORD, House, Start

CHINESE = {"accept-language": "zh-CN"}
EVIL = "https://evil.example/"


def of(page: str) -> tuple[str, str]:
    """Its language, and the name of the link to the other size."""
    lang = re.search(r'<html lang="([^"]+)"', page)
    other = re.search(r'<a href="[^"]*text=[^"]*">([^<]+)</a>', page)
    assert lang
    assert other
    return lang[1], other[1]


@pytest.mark.parametrize(
    ("chosen", "seen"),
    [
        ("lang=en", ("en", "Large text")),
        ("text=large", ("zh-CN", "标准版")),
        ("lang=en&text=large", ("en", "Standard text")),
    ],
)
async def test_what_was_chosen_once_stays(house: House, chosen: str, seen: tuple[str, str]) -> None:
    browser = house.browser()
    browser.http.headers.update(CHINESE)
    assert of((await browser.get("/oauth2/login")).text) == ("zh-CN", "长者版")
    await browser.get(f"/oauth2/login?{chosen}")
    for path in ("login", "login/code", "register", "reset", "logout", "upstream"):
        assert of((await browser.get(f"/oauth2/{path}")).text) == seen, path
    for path in ("consent", "acting", "step-up", "login"):
        error = await browser.get(f"/oauth2/{path}?return_to={EVIL}")
        assert error.status_code == 400
        assert of(error.text) == seen, path
    await browser.get(Start(changes={"act_for": "choose"}).url)
    wrong = await browser.submit(login="13800000001", password="not this one")
    assert of(wrong.text) == seen
    acting = await browser.submit(login="13800000001", password=PASSWORD)
    assert 'name="act_for"' in acting.text
    assert of(acting.text) == seen
    old = await browser.http.post("/oauth2/consent", data={"csrf": "old"})
    assert of(old.text) == seen


async def test_an_app_says_the_language_until_the_person_does(house: House) -> None:
    browser = house.browser()
    browser.http.headers.update(CHINESE)
    page = await browser.get(Start(changes={"ui_locales": "en zh-CN"}).url)
    assert of(page.text)[0] == "en"
    assert "set-cookie" not in page.headers or "beam_lang" not in page.headers["set-cookie"]
    back = await browser.get("/oauth2/login?lang=zh")
    assert "beam_lang=zh" in back.headers["set-cookie"]
    page = await browser.get(Start(changes={"ui_locales": "en"}).url)
    assert of(page.text)[0] == "zh-CN"


async def test_an_unknown_choice_is_none(house: House) -> None:
    browser = house.browser()
    browser.http.headers.update(CHINESE)
    page = await browser.get("/oauth2/login?lang=fr&text=huge")
    assert of(page.text) == ("zh-CN", "长者版")
    assert "beam_text" not in page.headers.get("set-cookie", "")
