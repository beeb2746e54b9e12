"""Acting for somebody: sign in as a person, ask for the other identity, read the tokens."""

from typing import Any

from .conftest import Browser, House, Start, bearer, called_back

ZHANG, LI = "13800000001", "13800000002"
PHONES = {"张三": ZHANG, "李四": LI}


async def own(house: House, login: str = ZHANG) -> dict[str, str]:
    """Headers of a person in his own name."""
    return bearer(await house.signed_in(login))


async def acting(house: House, act_for: str, login: str = ZHANG) -> dict[str, Any]:
    """The token answer of a person who asked to act for this one."""
    start = Start(changes={"act_for": act_for})
    back = await house.code(start, login)
    answer = await house.exchange(start, back["code"])
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def refused(house: House, act_for: str, login: str = ZHANG) -> str:
    """The error with which the client is called back instead."""
    return (await house.code(Start(changes={"act_for": act_for}), login))["error"]


async def caller_of(house: House, tokens: dict[str, Any]) -> Any:
    return await house.running.runtime.keyring.verify(tokens["access_token"])


async def chosen(house: House, act_for: str, login: str, **changes: str) -> dict[str, str]:
    """Called back after the page on which the person chooses."""
    browser: Browser = house.browser()
    await browser.get(Start(changes={"act_for": "choose", **changes}).url)
    await browser.submit(login=login, password="Beam-demo-2026")
    return called_back(await browser.submit(act_for=act_for))
