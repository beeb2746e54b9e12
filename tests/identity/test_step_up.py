"""Proving more: codes by short message, the register of citizens, `acr_values`; the sandbox runs
as a process of its own."""

import asyncio
import hashlib
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select, update

from identity_svc.channels import aliyun
from identity_svc.models import Account, Attempts, LoginSession, PhoneCode
from identity_svc.providers import citizens
from kit.clock import now
from kit.outbox import Outbox
from kit.testing import key
from sandbox.sms import wire
from sandbox.testing import Sandbox

from .conftest import Browser, House, Start, called_back

WANG = ("王五", "11010519491231002X", "13900000001")
ZHAO = ("赵六", "440524188001010014", "13900000002")
PASSWORD = "Wang-five-1949"


@pytest.fixture
def house(open_house: House) -> House:
    return open_house


@pytest.fixture(autouse=True)
async def _no_counts(house: House) -> None:
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(delete(Attempts))


async def register(house: House, who: tuple[str, str, str], **more: Any) -> httpx.Response:
    name, number, phone = who
    body = {"name": name, "id_number": number, "phone": phone, "password": PASSWORD, **more}
    return await house.http.post("/v1/accounts", json=body, headers=key())


async def last_code(outside: Sandbox, phone: str) -> str:
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as client:
        book = (await client.get("/_sim/sms/book", params={"phone": phone})).json()
    return str(book["messages"][-1]["code"])


async def account_of(house: House, phone: str) -> Account:
    runtime = house.running.runtime
    async with runtime.sessions() as session:
        found = await session.scalar(
            select(Account).where(Account.phone_index == runtime.vault.index(f"phone|{phone}"))
        )
    assert found is not None
    return found


async def step_up_page(house: House, phone: str, level: str) -> Browser:
    browser = house.browser()
    await browser.get(Start(changes={"acr_values": level}).url)
    await browser.submit(login=phone, password=PASSWORD)
    return browser


async def prove_phone(browser: Browser, outside: Sandbox, phone: str) -> httpx.Response:
    await browser.submit()
    return await browser.submit(code=await last_code(outside, phone))


async def test_from_nothing_to_the_second_level(house: House, outside: Sandbox) -> None:
    assert (await register(house, WANG)).status_code == 201
    browser = await step_up_page(house, WANG[2], "L2")
    assert "139****0001" in browser.page.text
    assert WANG[2] not in browser.page.text
    await browser.submit()
    wrong = await browser.submit(code="000000x")
    assert (wrong.status_code, "验证码不正确" in wrong.text) == (422, True)
    await browser.submit(code=await last_code(outside, WANG[2]))
    assert "核验" in browser.page.text
    assert WANG[1] not in browser.page.text
    back = called_back(await browser.submit())
    account = await account_of(house, WANG[2])
    assert account.level == "L2"
    async with house.running.runtime.sessions() as session:
        login = (
            await session.scalars(select(LoginSession).where(LoginSession.account_id == account.id))
        ).one()
        bodies = list(
            await session.scalars(
                select(Outbox.body).where(Outbox.body.contains(account.id)).order_by(Outbox.seq)
            )
        )
    assert (login.acr, login.amr) == ("L2", ["pwd", "sms"])
    verified = [body for body in bodies if "account_verified" in body]
    assert [('"L1"' in body, '"L2"' in body) for body in verified] == [(True, False), (False, True)]
    assert not any(private in body for body in bodies for private in WANG)
    assert "code" in back


async def test_the_token_says_the_new_level(house: House) -> None:
    """A client gets what it asked for, and a level that is there already asks for nothing."""
    start = Start(changes={"acr_values": "L2"})
    back = await house.browser().sign_in(start, "13800000001")
    tokens = (await house.exchange(start, back["code"])).json()
    assert (await house.running.runtime.keyring.verify(tokens["access_token"])).level == "L3"


@pytest.mark.parametrize(
    ("changes", "login"),
    [
        ({"acr_values": "L4"}, "13800000001"),
        ({"acr_values": "L3"}, "w01"),
    ],
)
async def test_what_cannot_be_reached_online(
    house: House, changes: dict[str, str], login: str
) -> None:
    back = await house.browser().sign_in(Start(changes=dict(changes)), login)
    assert back["error"] == "unmet_authentication_requirements"
    assert "code" not in back


async def test_nothing_is_asked_silently(house: House) -> None:
    await register(house, ZHAO)
    browser = await step_up_page(house, ZHAO[2], "L0")
    assert "code" in called_back(browser.page)
    silent = Start(changes={"acr_values": "L1", "prompt": "none"})
    back = called_back(await browser.get(silent.url))
    assert back["error"] == "unmet_authentication_requirements"
    unknown = called_back(await browser.get(Start(changes={"acr_values": "loa-9"}).url))
    assert "code" in unknown


async def test_step_up_needs_a_sign_in_a_request_and_its_form(house: House) -> None:
    browser = house.browser()
    start = Start(changes={"acr_values": "L1"})
    assert (await browser.get("/oauth2/step-up")).status_code == 400
    assert (await browser.get("/oauth2/step-up?return_to=http://evil.example/")).status_code == 400
    page = await browser.http.get("/oauth2/step-up", params={"return_to": start.url})
    assert page.headers["location"].startswith("/oauth2/login?")
    forged = await browser.http.post(
        "/oauth2/step-up", data={"return_to": start.url, "step": "send", "csrf": "x"}
    )
    assert forged.status_code == 400


async def test_a_code_dies(house: House, outside: Sandbox) -> None:
    """Of five wrong tries, of age, of use, and it is of no use for another number."""
    who = ("孙七", "11010519491231002X", "13900000003")
    await register(house, who)
    browser = await step_up_page(house, who[2], "L1")
    await browser.submit()
    right = await last_code(outside, who[2])
    other = "111111" if right != "111111" else "222222"
    for _ in range(5):
        assert (await browser.submit(code=other)).status_code == 422
    assert (await browser.submit(code=right)).status_code == 422
    sessions = house.running.runtime.sessions
    async with sessions.begin() as session:
        await session.execute(update(PhoneCode).values(tries=0, expires_at=now() - timedelta(1)))
    assert (await browser.submit(code=right)).status_code == 422
    async with sessions.begin() as session:
        await session.execute(update(PhoneCode).values(expires_at=now() + timedelta(minutes=5)))
    foreign = await step_up_page(house, ZHAO[2], "L1")
    async with sessions.begin() as session:
        await session.execute(delete(Attempts))
    await foreign.submit()
    code_id = browser.page.text.split('name="code_id" value="')[1].split('"')[0]
    assert (await foreign.submit(code=right, code_id=code_id)).status_code == 422
    assert "code" in called_back(await browser.submit(code=right))


async def test_one_code_a_minute(house: House, outside: Sandbox) -> None:
    body = {"phone": "13900000004"}
    first = await house.http.post("/v1/phone-codes", json=body)
    assert (first.status_code, first.json()["delivery"]) == (201, "sent")
    second = await house.http.post("/v1/phone-codes", json=body)
    assert (second.status_code, second.json()["code"]) == (429, "too_many")
    assert "retry-after" in second.headers
    odd = await house.http.post("/v1/phone-codes", json={"phone": "12345"})
    assert odd.status_code == 422


async def test_many_at_once_send_one(house: House, outside: Sandbox) -> None:
    asked = [house.http.post("/v1/phone-codes", json={"phone": "13900000005"}) for _ in range(5)]
    statuses = sorted(answer.status_code for answer in await asyncio.gather(*asked))
    assert statuses == [201, 429, 429, 429, 429]


async def test_registering_with_a_code(house: House, outside: Sandbox) -> None:
    """The account starts at L1, and the number is taken from one who only claimed it."""
    phone = "13900000006"
    await register(house, ("周八", "11010519491231002X", phone))
    squatter = await account_of(house, phone)
    sent = (await house.http.post("/v1/phone-codes", json={"phone": phone})).json()
    owner = ("吴九", "440524188001010014", phone)
    wrong = await register(house, owner, phone_code={"id": sent["id"], "code": "00000x"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "wrong_code")
    proof = {"id": sent["id"], "code": await last_code(outside, phone)}
    assert (await register(house, owner, phone_code=proof)).status_code == 201
    account = await account_of(house, phone)
    assert account.id != squatter.id
    assert account.level == "L1"
    assert (await register(house, owner, phone_code=proof)).json()["code"] == "wrong_code"
    # A number that was proven is not taken away by another proof.
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(delete(Attempts))
    sent = (await house.http.post("/v1/phone-codes", json={"phone": phone})).json()
    proof = {"id": sent["id"], "code": await last_code(outside, phone)}
    assert (await register(house, owner, phone_code=proof)).status_code == 201
    assert (await account_of(house, phone)).id == account.id


@pytest.mark.parametrize(
    ("phone", "status", "delivery"),
    [("13900000413", 503, None), ("13900000416", 503, None), ("13900000500", 201, "unknown")],
)
async def test_trouble_of_the_messages(
    house: House, phone: str, status: int, delivery: str | None
) -> None:
    answer = await house.http.post("/v1/phone-codes", json={"phone": phone})
    assert (answer.status_code, answer.json().get("delivery")) == (status, delivery)


async def test_a_name_that_is_not_theirs(house: House, outside: Sandbox) -> None:
    """mismatch, not found, unavailable: no level, and the person is told what to do."""
    for number, (name, id_number, told, status) in enumerate(
        (
            ("张三丰", "11010519491231002X", "核对不一致", 422),
            ("郑十", "310115199912310014", "核对不一致", 422),
            ("不可用", "440524188001010014", "暂时无法", 503),
        )
    ):
        phone = f"1370000000{number}"
        await register(house, (name, id_number, phone))
        browser = await step_up_page(house, phone, "L2")
        await prove_phone(browser, outside, phone)
        page = await browser.submit()
        assert told in page.text, page.text
        assert page.status_code == status
        assert (await account_of(house, phone)).level == "L1"


async def test_the_register_fails_and_comes_back(house: House, outside: Sandbox) -> None:
    phone = "13700000009"
    await register(house, (*ZHAO[:2], phone))
    browser = await step_up_page(house, phone, "L2")
    await prove_phone(browser, outside, phone)
    await outside.sim("citizens/faults", kind="500")
    assert (await browser.submit()).status_code == 503
    assert "code" in called_back(await browser.submit())
    # The same number on a second account: the first keeps it.
    await register(house, (*ZHAO[:2], "13700000008"))
    browser = await step_up_page(house, "13700000008", "L2")
    await prove_phone(browser, outside, "13700000008")
    page = await browser.submit()
    assert (page.status_code, "另一账户" in page.text) == (422, True)
    assert (await account_of(house, "13700000008")).level == "L1"


async def test_without_channels_nothing_is_promised(house: House) -> None:
    runtime = house.running.runtime
    kept = runtime.parts["outside"]
    settings = kept.settings.model_copy(update={"sms_keys": None, "citizens_keys": None})
    runtime.parts["outside"] = type(kept)(settings)
    try:
        answer = await house.http.post("/v1/phone-codes", json={"phone": "13900000007"})
        assert answer.status_code == 503
    finally:
        runtime.parts["outside"] = kept


async def test_the_sandbox_refuses_what_is_not_signed(outside: Sandbox) -> None:
    right = aliyun.Account.load(outside.keys / "sms")
    wrong = aliyun.Account(right.access_key_id, "wrong", right.sign_name, right.template_code)
    other = aliyun.Account("LTAIother", right.access_key_secret, "", "")
    template = aliyun.Account(
        right.access_key_id, right.access_key_secret, right.sign_name, "SMS_1"
    )
    for account in (wrong, other, template):
        channel = aliyun.Aliyun(outside.url, account)
        assert await channel.send_code("13900000001", "123456", reference="r") == "refused"
        await channel.close()
    nobody = citizens.Citizens(outside.url, citizens.Account("app", "secret"))
    assert (await nobody.verify(*WANG[:2])).result == "unavailable"
    await nobody.close()


async def test_the_signature_of_the_documentation() -> None:
    """Aliyun's own example: RunInstances, signed with V3. Both sides were written apart."""
    headers = {
        "host": "ecs.cn-shanghai.aliyuncs.com",
        "x-acs-action": "RunInstances",
        "x-acs-content-sha256": hashlib.sha256(b"").hexdigest(),
        "x-acs-date": "2023-10-26T10:22:32Z",
        "x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d",
        "x-acs-version": "2014-05-26",
    }
    query = {
        "ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd",
        "RegionId": "cn-shanghai",
    }
    secret = "YourAccessKeySecret"
    expected = "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    ours = aliyun.authorization("POST", "/", query, headers, key_id="id", secret=secret)
    assert ours.endswith(f"Signature={expected}")
    assert wire.signature("POST", "/", query, headers, secret) == expected
