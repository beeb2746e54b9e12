"""Other people's applications: registered by operators, held to FAPI 2.0 when they have keys, and
nothing is told to them before the person agreed."""

from typing import Any

import pytest
from sqlalchemy import select

from contracts.event import Envelope
from kit.outbox import Outbox
from kit.testing import key, until

from .conftest import CALLBACK, House, Start, bearer, called_back
from .holders import Holder

BODY = {
    "name": "邻里帮",
    "name_en": "Neighbours",
    "redirect_uris": [CALLBACK],
    "scopes": ["openid", "profile"],
}


async def operator(house: House) -> dict[str, str]:
    return bearer(await house.signed_in("o01"))


async def register(house: House, **changes: Any) -> str:
    answer = await house.http.post(
        "/v1/clients", json={**BODY, **changes}, headers={**await operator(house), **key()}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["client_id"])


async def test_asked_once_and_told_only_then(house: House) -> None:
    client = await register(house)
    start, browser = Start(changes={"client_id": client}), house.browser()
    await browser.get(start.url)
    page = await browser.submit(login="13800000001", password="Beam-demo-2026")
    assert "邻里帮" in page.text
    assert "http://127.0.0.1:9" in page.text
    assert "姓名" in page.text
    silent = Start(changes={"client_id": client, "prompt": "none"})
    refused = await browser.http.get(silent.url)
    assert called_back(refused)["error"] == "consent_required"
    back = called_back(await browser.submit(decision="agree"))
    tokens = (await house.exchange(start, back["code"], client_id=client)).json()
    assert tokens["access_token"]
    assert "code" in called_back(await browser.get(silent.url))
    again = await browser.get(Start(changes={"client_id": client, "prompt": "consent"}).url)
    assert "邻里帮" in again.text


async def test_who_does_not_agree_is_sent_back(house: House) -> None:
    client = await register(house)
    browser = house.browser()
    await browser.get(Start(changes={"client_id": client}).url)
    await browser.submit(login="13800000002", password="Beam-demo-2026")
    back = called_back(await browser.submit(decision="deny"))
    assert (back["error"], back["state"]) == ("access_denied", "s-1")
    assert "code" not in back


async def test_more_than_was_agreed_is_asked_again(house: House) -> None:
    client = await register(house)
    browser = house.browser()
    await browser.get(Start(changes={"client_id": client, "scope": "openid"}).url)
    await browser.submit(login="13800000001", password="Beam-demo-2026")
    assert "姓名" not in browser.page.text
    called_back(await browser.submit(decision="agree"))
    assert "姓名" in (await browser.get(Start(changes={"client_id": client}).url)).text


async def test_taking_it_back_ends_the_tokens(house: House) -> None:
    client = await register(house)
    start, browser = Start(changes={"client_id": client}), house.browser()
    await browser.get(start.url)
    await browser.submit(login="13800000001", password="Beam-demo-2026")
    back = called_back(await browser.submit(decision="agree"))
    theirs = (await house.exchange(start, back["code"], client_id=client)).json()
    mine = bearer(await house.signed_in())
    listed = (await house.http.get("/v1/me/consents", headers=mine)).json()["items"]
    assert client in [item["client_id"] for item in listed]
    path = f"/v1/me/consents/{client}/withdraw"
    other = bearer(await house.signed_in("13800000002"))
    assert (await house.http.post(path, headers=other)).status_code == 404
    assert (await house.http.post(path, headers=mine)).status_code == 204
    assert (await house.http.post(path, headers=mine)).status_code == 404

    async def refused() -> bool:
        return (await house.http.get("/v1/me", headers=bearer(theirs))).status_code == 401

    await until(refused)
    stale = await house.refresh(theirs["refresh_token"], client_id=client)
    assert stale.json()["error"] == "invalid_grant"
    async with house.running.runtime.sessions() as session:
        bodies = await session.scalars(select(Outbox.body).order_by(Outbox.seq))
        told = [Envelope.model_validate_json(body) for body in bodies if client in body]
    assert [event.event_type for event in told] == [
        "identity.consent_granted.v1",
        "identity.consent_withdrawn.v1",
    ]
    assert "邻里帮" in (await browser.get(start.url)).text


async def test_a_client_with_keys_is_held_to_the_strict_profile(house: House) -> None:
    holder = Holder()
    client = await register(house, keys=[{**holder.public}])
    browser = house.browser()
    await browser.sign_in(Start())
    plain = called_back(await browser.get(Start(changes={"client_id": client}).url))
    assert plain["error"] == "invalid_request"
    start = Start()
    sent = {
        "client_id": client,
        "response_type": "code",
        "redirect_uri": CALLBACK,
        "scope": "openid",
        "code_challenge": start.challenge,
        "code_challenge_method": "S256",
        **holder.assertion(client),
    }
    uri = (await house.http.post("/oauth2/par", data=sent)).json()["request_uri"]
    place = f"/oauth2/authorize?client_id={client}&request_uri={uri}"
    assert "邻里帮" in (await browser.get(place)).text
    back = called_back(await browser.submit(decision="agree"))
    form = {
        "grant_type": "authorization_code",
        "client_id": client,
        "redirect_uri": CALLBACK,
        "code": back["code"],
        "code_verifier": start.verifier,
    }
    loose = await house.http.post("/oauth2/token", data={**form, **holder.assertion(client)})
    assert loose.json()["error"] == "invalid_dpop_proof"
    answer = await house.http.post(
        "/oauth2/token",
        data={**form, **holder.assertion(client)},
        headers={"dpop": holder.proof("POST", "/oauth2/token")},
    )
    assert answer.json()["token_type"] == "DPoP", answer.text
    denied = {**sent, **holder.assertion(client)}
    uri = (await house.http.post("/oauth2/par", data={**denied, "prompt": "consent"})).json()
    place = f"/oauth2/authorize?client_id={client}&request_uri={uri['request_uri']}"
    await browser.get(place)
    assert called_back(await browser.submit(decision="deny"))["error"] == "access_denied"
    assert (await browser.get(place)).status_code == 400


async def test_switching_a_client_off(house: House) -> None:
    client = await register(house)
    start, browser = Start(changes={"client_id": client}), house.browser()
    await browser.get(start.url)
    await browser.submit(login="13800000001", password="Beam-demo-2026")
    back = called_back(await browser.submit(decision="agree"))
    theirs = (await house.exchange(start, back["code"], client_id=client)).json()
    staff = await operator(house)
    path = f"/v1/clients/{client}"
    stale = await house.http.post(f"{path}/switch-off", headers={**staff, "if-match": '"7"'})
    assert stale.status_code == 412
    off = await house.http.post(f"{path}/switch-off", headers={**staff, "if-match": '"1"'})
    assert (off.json()["active"], off.json()["version"]) == (False, 2)
    assert (await browser.get(start.url)).status_code == 400

    async def refused() -> bool:
        return (await house.http.get("/v1/me", headers=bearer(theirs))).status_code == 401

    await until(refused)
    assert (await house.http.post(f"{path}/switch-on", headers=staff)).json()["active"]
    assert "code" in called_back(await browser.get(start.url))
    for own in ("portal", "svc-case", "cli_nobody"):
        answer = await house.http.post(f"/v1/clients/{own}/switch-off", headers=staff)
        assert answer.status_code == 404


async def test_operators_alone_register_and_read(house: House) -> None:
    for login in ("13800000001", "r01"):
        headers = bearer(await house.signed_in(login))
        answer = await house.http.post("/v1/clients", json=BODY, headers={**headers, **key()})
        assert answer.status_code == 403
        assert (await house.http.get("/v1/clients", headers=headers)).status_code == 403
    await register(house)
    await register(house)
    staff = await operator(house)
    first = (await house.http.get("/v1/clients?limit=1", headers=staff)).json()
    second = (await house.http.get(first["next"], headers=staff)).json()
    assert first["items"][0]["client_id"] < second["items"][0]["client_id"]
    assert "portal" not in str(first) + str(second)


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uris": []},
        {"redirect_uris": ["http://evil.example/"]},
        {"redirect_uris": ["https://a.example/#part"]},
        {"redirect_uris": ["https://user@a.example/"]},
        {"redirect_uris": ["https://a.example/*"]},
        {"redirect_uris": ["https://[::1/"]},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": ["/callback"]},
        {"scopes": ["internal"]},
        {"keys": [{**Holder().public, "d": "A" * 43}]},
        {"keys": [{**Holder().public, "crv": "P-384"}]},
        {"keys": [{"kty": "oct", "k": "A" * 43, "kid": "a"}]},
        {"third_party": False},
    ],
    ids=lambda changes: "+".join(changes) if isinstance(changes, dict) else None,
)
async def test_what_may_not_be_registered(house: House, changes: dict[str, Any]) -> None:
    answer = await house.http.post(
        "/v1/clients", json={**BODY, **changes}, headers={**await operator(house), **key()}
    )
    assert answer.status_code == 422, answer.text
    assert "evil.example" not in answer.text


async def test_the_consent_page_takes_its_own_form_only(house: House) -> None:
    client = await register(house)
    browser = house.browser()
    await browser.sign_in(Start())
    url = Start(changes={"client_id": client}).url
    forged = {"return_to": url, "decision": "agree", "csrf": "x"}
    assert (await browser.http.post("/oauth2/consent", data=forged)).status_code == 400
    assert (await browser.get("/oauth2/consent?return_to=http://evil.example/")).status_code == 400
    await browser.get(url)
    assert (await browser.submit(decision="maybe")).status_code == 400
