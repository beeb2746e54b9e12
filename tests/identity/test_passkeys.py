"""Passkeys, with a software authenticator: adding, signing in, and everything that must fail."""

import json
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from jose import jwt
from sqlalchemy import delete, select, update

from identity_svc.models import Account, Attempts
from identity_svc.models_sign_in import Passkey
from kit.secrets import Vault
from kit.testing import Ground, key

from .authenticator import BE, BS, UP, UV, Authenticator, b64
from .conftest import House, Start, bearer, called_back

ORIGIN, HOST = "http://beam.test", "beam.test"
ZHANG, LI = "13800000001", "13800000002"


@pytest.fixture(autouse=True)
async def _no_tries_yet(house: House) -> None:
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(delete(Attempts))


def device(**more: Any) -> Authenticator:
    return Authenticator(ORIGIN, HOST, **more)


async def fresh(house: House, login: str) -> dict[str, str]:
    """The headers of somebody who signed in just now."""
    browser, start = house.browser(), Start()
    back = await browser.sign_in(start, login)
    return bearer((await house.exchange(start, back["code"])).json())


async def options(house: House, headers: dict[str, str]) -> dict[str, Any]:
    answer = await house.http.post("/v1/me/passkeys/options", headers=headers)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()["publicKey"]
    return made


async def finish(
    house: House, headers: dict[str, str], credential: dict[str, Any], name: str = "我的手机"
) -> httpx.Response:
    body = {"name": name, "credential": credential}
    return await house.http.post("/v1/me/passkeys", json=body, headers={**headers, **key()})


async def added(house: House, login: str = ZHANG, **more: Any) -> Authenticator:
    """A device whose passkey is this person's."""
    made, headers = device(**more), await fresh(house, login)
    answer = await finish(house, headers, made.create(await options(house, headers)))
    assert answer.status_code == 201, answer.text
    return made


async def asked(house: House, start: Start | None = None) -> tuple[Any, str]:
    """A browser on the login page, and the challenge that it was given."""
    browser = house.browser()
    page = await browser.get((start or Start()).url)
    found = re.search(r'data-challenge="([\w-]+)" data-rp="beam.test"', page.text)
    assert found
    return browser, found[1]


async def answered(browser: Any, credential: Any) -> httpx.Response:
    """What the page's script sends."""
    form = browser.page.text.partition('id="passkey-form"')[2]
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
    hidden["return_to"] = hidden["return_to"].replace("&amp;", "&")
    hidden.pop("credential", None)
    sent = credential if isinstance(credential, str) else json.dumps(credential)
    data = {**hidden, "credential": sent}
    answer = await browser.http.post("/oauth2/login/passkey", data=data)
    followed: httpx.Response = await browser._follow(answer)
    return followed


def refused(answer: httpx.Response) -> bool:
    return answer.status_code == 422 and "通行密钥没有通过核验" in answer.text


async def test_adding_and_signing_in(house: House) -> None:
    mine = await added(house)
    start = Start()
    browser, challenge = await asked(house, start)
    back = called_back(await answered(browser, mine.get(challenge)))
    tokens = (await house.exchange(start, back["code"])).json()
    claims = jwt.get_unverified_claims(tokens["id_token"])
    assert (claims["sub"], claims["acr"]) == ("acc_zhangsan", "L3")
    assert claims["amr"] == ["swk", "user", "mfa"]
    listed = await house.http.get("/v1/me/sign-in-ways", headers=bearer(tokens))
    keys = [way for way in listed.json()["items"] if way["way"] == "passkey"]
    assert keys[0]["hint"] == "我的手机"
    assert any(way["used_at"] for way in keys)
    async with house.running.runtime.sessions() as session:
        row = await session.scalar(
            select(Passkey).where(Passkey.credential_id == mine.credential_id)
        )
    assert row is not None
    assert "手机".encode() not in row.name


async def test_a_key_that_stays_on_its_device(house: House) -> None:
    mine, start = await added(house, flags=UP | UV), Start()
    browser, challenge = await asked(house, start)
    back = called_back(await answered(browser, mine.get(challenge)))
    tokens = (await house.exchange(start, back["code"])).json()
    assert jwt.get_unverified_claims(tokens["id_token"])["amr"] == ["hwk", "user", "mfa"]


async def test_the_options(house: House) -> None:
    mine = await added(house)
    made = await options(house, await fresh(house, ZHANG))
    assert made["rp"]["id"] == HOST
    assert made["user"]["name"] == "138****0001"
    assert ZHANG not in json.dumps(made)
    assert "acc_zhangsan" not in json.dumps(made)
    assert made["attestation"] == "none"
    assert made["authenticatorSelection"]["residentKey"] == "required"
    name = mine.get("x")["id"]
    assert name in [known["id"] for known in made["excludeCredentials"]]


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://beam.test.evil.example"},
        {"origin": "http://beam.test:81"},
        {"rp_id": "evil.example"},
        {"flags": UP | BE | BS},
        {"flags": UV},
        {"kind": "webauthn.create"},
        {"handle": b"x" * 32},
    ],
)
async def test_what_does_not_sign_in(house: House, changes: dict[str, Any]) -> None:
    mine = await added(house)
    browser, challenge = await asked(house)
    assert refused(await answered(browser, mine.get(challenge, **changes)))
    assert "beam_login" not in browser.http.cookies
    browser, challenge = await asked(house)
    called_back(await answered(browser, mine.get(challenge)))


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "https://evil.example"},
        {"rp_id": "evil.example"},
        {"flags": UP},
        {"flags": UV},
        {"kind": "webauthn.get"},
        {"algorithm": -65535},
    ],
)
async def test_what_is_not_added(house: House, changes: dict[str, Any]) -> None:
    headers = await fresh(house, ZHANG)
    answer = await finish(house, headers, device().create(await options(house, headers), **changes))
    assert (answer.status_code, answer.json()["code"]) == (422, "passkey_refused")


async def test_a_challenge_is_good_once_for_one_browser_and_one_purpose(house: House) -> None:
    mine = await added(house, step=0)
    browser, challenge = await asked(house)
    said = mine.get(challenge)
    thief, _ = await asked(house)
    assert refused(await answered(thief, said))
    page = browser.page
    called_back(await answered(browser, said))
    browser.page = page
    assert refused(await answered(browser, said))
    headers = await fresh(house, ZHANG)
    made = await options(house, headers)
    assert refused(await answered(browser, mine.get(made["challenge"])))
    wrong = device().create({**made, "challenge": (await asked(house))[1]})
    assert (await finish(house, headers, wrong)).json()["code"] == "passkey_refused"
    other = device().create(made)
    theirs = await finish(house, await fresh(house, LI), other)
    assert theirs.json()["code"] == "passkey_refused"
    assert (await finish(house, headers, other)).status_code == 201
    assert (await finish(house, headers, other)).json()["code"] == "passkey_refused"
    forged = Vault(Vault.new_document()).seal("x", bound_to="x")
    assert refused(await answered(browser, mine.get(b64(forged))))


async def test_a_challenge_grows_old(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = await added(house)
    monkeypatch.setattr("identity_svc.sign_in.passkeys.LIFE", timedelta(seconds=-1))
    browser, challenge = await asked(house)
    assert refused(await answered(browser, mine.get(challenge)))


async def test_a_counter_that_goes_back(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """There may be a copy of the key: refused, told to the operators; the true one goes on."""
    mine = await added(house, counter=40)
    for count in (30, 40):
        mine.counter = count
        browser, challenge = await asked(house)
        assert refused(await answered(browser, mine.get(challenge)))
    mine.counter = 50
    browser, challenge = await asked(house)
    called_back(await answered(browser, mine.get(challenge)))
    mine.counter, mine.step = 0, 0
    browser, challenge = await asked(house)
    assert refused(await answered(browser, mine.get(challenge)))


async def test_another_persons_credential(house: House) -> None:
    """A key of one opens the account of one; the id of another's key with one's own does not."""
    hers, his = await added(house, ZHANG), await added(house, LI)
    browser, challenge = await asked(house)
    forged = Authenticator(ORIGIN, HOST, key=his.key, credential_id=hers.credential_id)
    forged.handle, forged.counter = hers.handle, 100
    assert refused(await answered(browser, forged.get(challenge)))
    headers = await fresh(house, LI)
    again = Authenticator(ORIGIN, HOST, credential_id=hers.credential_id)
    answer = await finish(house, headers, again.create(await options(house, headers)))
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    unknown = device()
    browser, challenge = await asked(house)
    assert refused(await answered(browser, unknown.get(challenge)))


async def test_removing(house: House) -> None:
    mine = await added(house, LI)
    headers = await fresh(house, LI)
    async with house.running.runtime.sessions() as session:
        row = await session.scalar(
            select(Passkey).where(Passkey.credential_id == mine.credential_id)
        )
    assert row is not None
    path = f"/v1/me/passkeys/{row.id}"
    stranger = await house.http.delete(path, headers=await fresh(house, ZHANG))
    assert (stranger.status_code, stranger.json()["code"]) == (404, "not_found")
    assert (await house.http.delete(path, headers=headers)).status_code == 204
    assert (await house.http.delete(path, headers=headers)).status_code == 404
    browser, challenge = await asked(house)
    assert refused(await answered(browser, mine.get(challenge)))


async def test_the_last_way_stays(house: House) -> None:
    made = await added(house, "r02")
    headers = await fresh(house, "r02")
    async with house.running.runtime.sessions.begin() as session:
        row = await session.scalar(
            select(Passkey).where(Passkey.credential_id == made.credential_id)
        )
        assert row is not None
        mine = Account.id == row.account_id
        await session.execute(update(Account).where(mine).values(password_hash=None))
    answer = await house.http.delete(f"/v1/me/passkeys/{row.id}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "last_way")


async def test_a_suspended_account(house: House) -> None:
    mine = await added(house, "s01")
    async with house.running.runtime.sessions.begin() as session:
        gone = update(Account).where(Account.id == "stf_s01")
        await session.execute(gone.values(state="suspended"))
    browser, challenge = await asked(house)
    assert refused(await answered(browser, mine.get(challenge)))


async def test_only_for_who_signs_in_by_himself(house: House) -> None:
    headers = await house.service()
    assert (await house.http.post("/v1/me/passkeys/options", headers=headers)).status_code == 403
    assert (await house.http.post("/v1/me/passkeys/options")).status_code == 401


@pytest.mark.parametrize(
    "sent",
    ["", "{", "[]", "null", "1", "{}", '{"id":"a"}', "[" * 5000, '{"id":1,"rawId":1}'],
)
async def test_rubbish(house: House, sent: str) -> None:
    browser, _ = await asked(house)
    assert refused(await answered(browser, sent))


async def test_broken_answers_of_a_device(house: House) -> None:
    """Each part cut, emptied, or of another kind: refused, never a fault of ours."""
    mine = await added(house)
    values: tuple[Any, ...] = ("", "AA", "!", None, 5, {}, "x" * 3000)
    for part in ("clientDataJSON", "authenticatorData", "signature", "userHandle"):
        for value in values:
            browser, challenge = await asked(house)
            said = mine.get(challenge)
            said["response"][part] = value
            answer = await answered(browser, said)
            if answer.status_code == 303:
                assert part == "userHandle"
                assert not value
                continue
            assert refused(answer), (part, value)
        async with house.running.runtime.sessions.begin() as session:
            await session.execute(delete(Attempts))
    headers = await fresh(house, ZHANG)
    for broken in ("AA", "oA", "x" * 3000, "gICAgICA"):
        made = device().create(await options(house, headers))
        made["response"]["attestationObject"] = broken
        answer = await finish(house, headers, made)
        assert (answer.status_code, answer.json()["code"]) == (422, "passkey_refused"), broken


async def test_the_page_runs_one_script_and_works_without(house: House) -> None:
    page = await house.browser().get(Start().url)
    policy = page.headers["content-security-policy"]
    assert "script-src http://beam.test/oauth2/passkey.js;" in policy
    assert "unsafe" not in policy
    assert page.text.count("<script") == 1
    assert '<script src="http://beam.test/oauth2/passkey.js" defer></script>' in page.text
    assert re.search(r'id="passkey-form"[^>]* hidden>', page.text)
    script = await house.http.get("/oauth2/passkey.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "navigator.credentials.get" in script.text
    assert "eval" not in script.text


async def test_no_button_where_browsers_know_no_passkeys(
    ground: Ground, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.testing.ISSUER", "http://127.0.0.1:8000")
    async with ground.service("identity_svc", nats=nats_url) as running:
        page = await running.client.get("/oauth2/login")
    assert "passkey" not in page.text
    assert "script" not in page.headers["content-security-policy"]
