"""Signing in from the WeChat mini-program, against a strict simulator of WeChat."""

import asyncio
from typing import Any

import httpx
import pytest
from jose import jwt
from sqlalchemy import delete, select, text, update

from identity_svc.models import Account, Attempts
from identity_svc.models_sign_in import WeChatBinding
from identity_svc.providers import CodeRefused, NoAnswer, wechat
from sandbox.testing import Sandbox

from .conftest import House, Start, account_of, bearer
from .test_sign_in_ways import NAMES, entered, person, put, ways

ZHANG = "13800000001"


@pytest.fixture
async def house(open_house: House) -> House:
    async with open_house.running.runtime.sessions.begin() as session:
        await session.execute(delete(Attempts))
    return open_house


async def login_code(outside: Sandbox, user: str) -> str:
    return str((await outside.sim("wechat-mini/login", user=user))["code"])


async def phone_code(outside: Sandbox, phone: str, country: str = "86") -> str:
    said = await outside.sim("wechat-mini/phone", phone=phone, country_code=country)
    return str(said["code"])


async def ask(house: House, start: Start, code: str, **more: Any) -> httpx.Response:
    body = {
        "client_id": "mini-program",
        "code": code,
        "scope": "openid profile",
        "code_challenge": start.challenge,
        "nonce": "n-1",
        **more,
    }
    return await house.http.post("/v1/sign-ins/wechat", json=body)


async def sign_in(house: House, outside: Sandbox, user: str, **more: Any) -> dict[str, Any]:
    """The token answer of a whole sign-in from the mini-program."""
    start = Start()
    answer = await ask(house, start, await login_code(outside, user), **more)
    assert answer.status_code == 200, answer.text
    given = await house.exchange(
        start, answer.json()["code"], client_id="mini-program", redirect_uri=""
    )
    assert given.status_code == 200, given.text
    tokens: dict[str, Any] = given.json()
    return tokens


async def test_the_first_time_with_a_number_and_then_without(
    house: House, outside: Sandbox
) -> None:
    unbound = await ask(house, Start(), await login_code(outside, "zhang"))
    assert (unbound.status_code, unbound.json()["code"]) == (409, "wechat_not_bound")
    first = await sign_in(house, outside, "zhang", phone_code=await phone_code(outside, ZHANG))
    claims = jwt.get_unverified_claims(first["id_token"])
    assert (claims["sub"], claims["amr"], claims["nonce"]) == ("acc_zhangsan", ["wechat"], "n-1")
    again = await sign_in(house, outside, "zhang")
    assert jwt.get_unverified_claims(again["access_token"])["sub"] == "acc_zhangsan"
    refreshed = await house.refresh(again["refresh_token"], client_id="mini-program")
    assert refreshed.status_code == 200
    assert (await ways(house, again))["wechat"]["used_at"] is not None
    async with house.running.runtime.sessions() as session:
        dump = str((await session.scalars(text("select t::text from wechat_binding t"))).all())
    assert "acc_zhangsan" in dump
    account = wechat.WeChat(outside.url, wechat.Account.load(outside.keys / "wechat_mini"))
    openid = (await account.user(await login_code(outside, "zhang"))).partition("/")[2]
    await account.close()
    assert openid
    assert openid not in dump, "it is personal data: a keyed hash is kept"


async def test_a_newcomer_registers_with_the_number(house: House, outside: Sandbox) -> None:
    phone = "13900000401"

    async def come(**more: Any) -> httpx.Response:
        code = await login_code(outside, "newcomer")
        number = await phone_code(outside, phone)
        return await ask(house, Start(), code, phone_code=number, **more)

    answer = await come()
    assert (answer.status_code, answer.json()["code"]) == (409, "account_needed")
    bad = await come(newcomer={**NAMES, "id_number": "1"})
    assert bad.status_code == 422
    tokens = await sign_in(
        house,
        outside,
        "newcomer",
        phone_code=await phone_code(outside, phone),
        newcomer=NAMES,
    )
    me = (await house.http.get("/v1/me", headers=bearer(tokens))).json()
    assert (me["level"], me["phone"]) == ("L1", "139****0401")
    assert (await ways(house, tokens)).keys() == {"phone_code", "wechat"}


async def test_a_number_that_an_account_only_claims_opens_nothing(
    house: House, outside: Sandbox
) -> None:
    phone = "13900000402"
    body = {**NAMES, "phone": phone, "password": "the squatter knows it"}
    await house.http.post("/v1/accounts", json=body, headers={"idempotency-key": "squat-402"})
    squatter = await account_of(house, phone)
    tokens = await sign_in(
        house,
        outside,
        "owner",
        phone_code=await phone_code(outside, phone),
        newcomer=NAMES,
    )
    account = await account_of(house, phone)
    assert account is not None
    assert squatter is not None
    assert account.id != squatter.id
    assert jwt.get_unverified_claims(tokens["access_token"])["sub"] == account.id


async def test_what_wechat_does_not_confirm(house: House, outside: Sandbox) -> None:
    used = await login_code(outside, "zhang")
    await ask(house, Start(), used)
    blocked = await login_code(outside, "blocked")
    number = await phone_code(outside, ZHANG)
    for code, more in (
        (used, {}),
        ("unknown", {}),
        (blocked, {}),
        (number, {}),
        (await login_code(outside, "x1"), {"phone_code": "unknown"}),
        (await login_code(outside, "x1"), {"phone_code": await login_code(outside, "x1")}),
        (await login_code(outside, "x1"), {"phone_code": await phone_code(outside, "5551", "1")}),
    ):
        answer = await ask(house, Start(), code, **more)
        assert (answer.status_code, answer.json()["code"]) == (422, "wechat_code_refused")
    async with house.running.runtime.sessions() as session:
        tries = (await session.scalars(select(Attempts.tries))).all()
    assert 7 in tries, "codes that were refused count, others do not"


async def test_trouble_at_wechat(house: House, outside: Sandbox) -> None:
    for call, kind in (("session", "500"), ("session", "429"), ("phone", "500")):
        await outside.sim("wechat-mini/faults", call=call, kind=kind)
        code, number = await login_code(outside, "x2"), await phone_code(outside, ZHANG)
        answer = await ask(house, Start(), code, phone_code=number)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), call
        assert "retry-after" in answer.headers


async def test_an_access_token_that_ended_early_is_replaced(house: House, outside: Sandbox) -> None:
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as client:
        await client.delete("/_sim/wechat-mini/tokens")
    answer = await ask(
        house,
        Start(),
        await login_code(outside, "zhang"),
        phone_code=await phone_code(outside, ZHANG),
    )
    assert answer.status_code == 200, answer.text


async def test_who_may_ask(house: House, outside: Sandbox) -> None:
    code = await login_code(outside, "zhang")
    for field, value in (
        ("client_id", "demo-app"),
        ("client_id", "nobody"),
        ("scope", "openid internal"),
        ("code_challenge", "short"),
    ):
        answer = await ask(house, Start(), code, **{field: value})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), value
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/body/{field}"], value
    # The code was not wasted, and what comes out is bound to its verifier and its client.
    start = Start()
    given = (await ask(house, start, code)).json()["code"]
    other = {"client_id": "mini-program", "redirect_uri": ""}
    assert (await house.exchange(Start(), given, **other)).status_code == 400
    given = (await ask(house, start, await login_code(outside, "zhang"))).json()["code"]
    assert (await house.exchange(start, given, redirect_uri="")).status_code == 400
    assert (await house.exchange(start, given, **other)).status_code == 200
    assert (await house.exchange(start, given, **other)).status_code == 400


async def test_binding_by_being_signed_in(house: House, outside: Sandbox) -> None:
    phone, second = "13900000403", "13900000404"
    await person(house, outside, phone)
    _, tokens = await entered(house, phone)

    async def bind(by: dict[str, Any], user: str) -> httpx.Response:
        body = {"code": await login_code(outside, user)}
        return await put(house, "/v1/me/sign-in-ways/wechat", by, body)

    assert (await bind(tokens, "wu")).status_code == 204
    assert (await bind(tokens, "wu")).status_code == 204
    assert (await bind(tokens, "wu-2")).json()["code"] == "conflict"
    await person(house, outside, second)
    _, others = await entered(house, second)
    assert (await bind(others, "wu")).json()["code"] == "conflict"
    refused = await put(house, "/v1/me/sign-in-ways/wechat", tokens, {"code": "unknown"})
    assert refused.json()["code"] == "wechat_code_refused"
    mine = await sign_in(house, outside, "wu")
    assert (await ways(house, mine)).keys() == {"password", "phone_code", "wechat"}
    # A number does not move the account to another WeChat user.
    moved = await ask(
        house,
        Start(),
        await login_code(outside, "wu-3"),
        phone_code=await phone_code(outside, phone),
    )
    assert (moved.status_code, moved.json()["code"]) == (409, "conflict")
    path = "/v1/me/sign-in-ways/wechat"
    assert (await house.http.delete(path, headers=bearer(mine))).status_code == 204
    assert (await house.http.delete(path, headers=bearer(mine))).status_code == 404
    answer = await ask(house, Start(), await login_code(outside, "wu"))
    assert answer.json()["code"] == "wechat_not_bound"


async def test_the_last_way_stays(house: House, outside: Sandbox) -> None:
    phone = "13900000405"
    account_id = await person(house, outside, phone)
    tokens = await sign_in(house, outside, "last", phone_code=await phone_code(outside, phone))
    async with house.running.runtime.sessions.begin() as session:
        gone = {"password_hash": None, "phone": None, "phone_index": None}
        await session.execute(update(Account).where(Account.id == account_id).values(gone))
    path = "/v1/me/sign-in-ways/wechat"
    answer = await house.http.delete(path, headers=bearer(tokens))
    assert (answer.status_code, answer.json()["code"]) == (409, "last_way")
    await sign_in(house, outside, "last")


async def test_a_suspended_account(house: House, outside: Sandbox) -> None:
    phone = "13900000406"
    account_id = await person(house, outside, phone)
    number = await phone_code(outside, phone)
    await sign_in(house, outside, "suspended", phone_code=number)
    async with house.running.runtime.sessions.begin() as session:
        mine = Account.id == account_id
        await session.execute(update(Account).where(mine).values(state="suspended"))
    answer = await ask(house, Start(), await login_code(outside, "suspended"))
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong_login")


async def test_two_at_once_are_bound_once(house: House, outside: Sandbox) -> None:
    phone = "13900000407"
    account_id = await person(house, outside, phone)
    asked = [
        ask(
            house,
            Start(),
            await login_code(outside, "twice"),
            phone_code=await phone_code(outside, phone),
        )
        for _ in range(4)
    ]
    statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
    assert statuses == [200] * 4
    async with house.running.runtime.sessions() as session:
        mine = WeChatBinding.account_id == account_id
        assert len((await session.scalars(select(WeChatBinding).where(mine))).all()) == 1


async def test_without_keys_nothing_is_promised(house: House) -> None:
    runtime = house.running.runtime
    kept = runtime.parts["outside"]
    settings = kept.settings.model_copy(update={"wechat_mini_keys": None})
    runtime.parts["outside"] = type(kept)(settings)
    try:
        assert (await ask(house, Start(), "x")).status_code == 503
    finally:
        runtime.parts["outside"] = kept


async def test_the_simulator_is_strict(outside: Sandbox) -> None:
    right = wechat.Account.load(outside.keys / "wechat_mini")
    for account in (
        wechat.Account("wxother", right.secret),
        wechat.Account(right.appid, "wrong"),
        wechat.Account(right.appid, ""),
    ):
        stranger = wechat.WeChat(outside.url, account)
        with pytest.raises(NoAnswer):
            await stranger.user(await login_code(outside, "zhang"))
        with pytest.raises(NoAnswer):
            await stranger.phone(await phone_code(outside, ZHANG))
        await stranger.close()
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as client:
        path = "/wxa/business/getuserphonenumber"
        for query, errcode in (("", 41001), ("?access_token=x", 40001)):
            answer = await client.post(path + query, json={"code": "x"})
            assert (answer.status_code, answer.json()["errcode"]) == (200, errcode)
        answer = await client.post("/cgi-bin/stable_token", content=b"no json")
        assert answer.json()["errcode"] == 47001
    ours = wechat.WeChat(outside.url, right)
    one, two = [await ours.user(await login_code(outside, "same")) for _ in range(2)]
    assert one == two
    await outside.sim("wechat-mini/login", user="same", asked=97)
    await ours.user(await login_code(outside, "same"))
    with pytest.raises(NoAnswer):
        await ours.user(await login_code(outside, "same"))
    with pytest.raises(CodeRefused):
        await ours.user("unknown")
    await ours.close()
