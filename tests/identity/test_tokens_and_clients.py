"""Refresh families, service and partner clients, giving back, asking, key rotation, restart."""

import asyncio
import base64
import random
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwk, jwt
from sqlalchemy import select, update

from identity_svc import keys
from identity_svc.models import RefreshToken, SigningKeyRow
from identity_svc.tokens import digest
from kit.clock import now
from kit.testing import Ground, until

from .conftest import SECRETS, House, Start, bearer


async def test_refresh_rotates(house: House) -> None:
    first = await house.signed_in()
    second = (await house.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    third = await house.refresh(second["refresh_token"])
    assert third.status_code == 200
    assert (await house.http.get("/v1/me", headers=bearer(third.json()))).status_code == 200


async def test_a_lost_answer_may_be_asked_for_again(house: House) -> None:
    first = (await house.signed_in())["refresh_token"]
    lost = (await house.refresh(first)).json()["refresh_token"]
    again = await house.refresh(first)
    assert again.status_code == 200
    assert (await house.refresh(again.json()["refresh_token"])).status_code == 200
    stolen = await house.refresh(lost)
    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")


async def test_reuse_kills_the_family(house: House) -> None:
    first = await house.signed_in()
    second = (await house.refresh(first["refresh_token"])).json()
    third = (await house.refresh(second["refresh_token"])).json()
    assert (await house.refresh(first["refresh_token"])).status_code == 400
    assert (await house.refresh(third["refresh_token"])).status_code == 400
    who = await house.http.get("/oauth2/userinfo", headers=bearer(third))
    assert who.status_code == 401
    other = await house.signed_in()
    assert (await house.refresh(other["refresh_token"])).status_code == 200


async def test_another_client_cannot_end_a_family(house: House) -> None:
    first = (await house.signed_in())["refresh_token"]
    second = (await house.refresh(first)).json()["refresh_token"]
    third = (await house.refresh(second)).json()["refresh_token"]
    assert (await house.refresh(first, client_id="portal")).status_code == 400
    assert (await house.refresh(third)).status_code == 200


async def test_several_at_once_leave_one_successor(house: House) -> None:
    first = (await house.signed_in())["refresh_token"]
    answers = await asyncio.gather(*(house.refresh(first) for _ in range(4)))
    tokens = [a.json()["refresh_token"] for a in answers if a.status_code == 200]
    async with house.running.runtime.sessions() as session:
        unused = RefreshToken.token_hash.in_([digest(t) for t in tokens])
        alive = await session.scalars(
            select(RefreshToken).where(unused, RefreshToken.used_at.is_(None))
        )
        assert len(alive.all()) == 1


@pytest.mark.parametrize("seed", range(4))
async def test_any_order_of_uses_follows_the_model(house: House, seed: int) -> None:
    """A family as a model: the newest token works; the one before it while the newest is unused;
    any other use ends the family."""
    choose = random.Random(seed)
    known = [(await house.signed_in())["refresh_token"]]
    newest, before, alive = known[0], "", True
    for _ in range(12):
        token = choose.choice([*known, newest, newest, before or newest])
        answer = await house.refresh(token)
        if alive and token in (newest, before):
            assert answer.status_code == 200, (known.index(token), len(known))
            before, newest = token, answer.json()["refresh_token"]
            known.append(newest)
        else:
            alive = False
            assert answer.status_code == 400
    assert (await house.refresh(newest)).status_code == (200 if alive else 400)


async def test_after_the_grace_a_reuse_is_a_reuse(house: House) -> None:
    first = (await house.signed_in())["refresh_token"]
    second = (await house.refresh(first)).json()["refresh_token"]
    async with house.running.runtime.sessions.begin() as session:
        await session.execute(
            update(RefreshToken)
            .where(RefreshToken.used_at.is_not(None))
            .values(used_at=now() - timedelta(seconds=61))
        )
    assert (await house.refresh(first)).status_code == 400
    assert (await house.refresh(second)).status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "portal"},
        {"scope": "openid internal"},
        {"refresh_token": "guess"},
        {"refresh_token": ""},
    ],
)
async def test_refresh_is_bound(house: House, changes: dict[str, str]) -> None:
    token = (await house.signed_in())["refresh_token"]
    answer = await house.refresh(token, **changes)
    assert answer.status_code == 400
    assert (await house.refresh(token)).status_code == 200


async def test_a_narrower_scope_does_not_stick(house: House) -> None:
    token = (await house.signed_in())["refresh_token"]
    narrow = (await house.refresh(token, scope="openid")).json()
    assert narrow["scope"] == "openid"
    assert (await house.refresh(narrow["refresh_token"])).json()["scope"] == "openid profile"


async def test_services_and_departments_get_their_own_tokens(house: House) -> None:
    form = await house.token(
        grant_type="client_credentials",
        client_id="svc-case",
        client_secret=SECRETS["svc-case"],
        scope="internal",
    )
    claims = _claims(await house.http.get("/.well-known/jwks.json"), form.json())
    assert (claims["sub"], claims["kind"], claims["scope"]) == ("svc-case", "service", "internal")
    assert "refresh_token" not in form.json()
    basic = await house.token(("dept-FIRE", SECRETS["dept-FIRE"]), grant_type="client_credentials")
    claims = _claims(await house.http.get("/.well-known/jwks.json"), basic.json())
    assert (claims["sub"], claims["kind"], claims["dept"]) == ("dept-FIRE", "partner", "FIRE")


def _claims(jwks: Any, answer: dict[str, Any]) -> dict[str, Any]:
    known = jwk.KeySet.import_key_set(jwks.json())
    claims: dict[str, Any] = jwt.decode(answer["access_token"], known, algorithms=["ES256"]).claims
    return claims


def _basic(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


@pytest.mark.parametrize(
    "header",
    [
        _basic(b"svc-case:wrong-secret-0123456789abcdef0123456789"),
        _basic(b"svc-nobody:" + b"x" * 40),
        _basic(b"svc-case:"),
        _basic(b"svc-case"),
        _basic(b"\xff\xfe:\x00"),
        _basic("客户:密钥".encode()),
        _basic(b"portal:"),
        "Basic not-base64",
        "Basic",
        "Bearer x",
        "Digest x",
    ],
)
async def test_clients_prove_who_they_are(house: House, header: str) -> None:
    answer = await house.http.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials"},
        headers={"authorization": header},
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"client_id": "portal"}, "invalid_client"),
        ({"client_id": "svc-case"}, "invalid_client"),
        ({"client_id": "svc-case", "client_secret": "wrong"}, "invalid_client"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"grant_type": "authorization_code", "code": "x"}, "unauthorized_client"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "unauthorized_client"),
    ],
)
async def test_what_a_service_may_not_have(
    house: House, fields: dict[str, str], error: str
) -> None:
    own = {"client_id": "svc-case", "client_secret": SECRETS["svc-case"]}
    sent = {"grant_type": "client_credentials", **({} if "client_id" in fields else own), **fields}
    answer = await house.token(**sent)
    assert answer.json()["error"] == error, answer.text


async def test_two_ways_of_proving_at_once(house: House) -> None:
    answer = await house.token(
        ("svc-case", SECRETS["svc-case"]),
        grant_type="client_credentials",
        client_id="svc-case",
        client_secret=SECRETS["svc-case"],
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_giving_back(house: House) -> None:
    tokens = await house.signed_in()
    asking = ("svc-licence", SECRETS["svc-licence"])

    async def active(token: str) -> bool:
        answer = await house.http.post("/oauth2/introspect", data={"token": token}, auth=asking)
        found: bool = answer.json()["active"]
        return found

    async def give_back(token: str, client_id: str = "demo-app") -> int:
        data = {"token": token, "client_id": client_id}
        return (await house.http.post("/oauth2/revoke", data=data)).status_code

    assert await active(tokens["access_token"])
    assert await active(tokens["refresh_token"])
    assert await give_back(tokens["access_token"], "portal") == 400
    assert await active(tokens["access_token"])
    assert await give_back("unknown") == 200
    assert await give_back(tokens["access_token"]) == 200
    assert not await active(tokens["access_token"])
    again = (await house.refresh(tokens["refresh_token"])).json()
    assert await active(again["access_token"])
    assert await give_back(again["refresh_token"]) == 200
    assert not await active(again["access_token"])
    assert (await house.refresh(again["refresh_token"])).status_code == 400


async def test_partners_ask_only_about_their_own(house: House) -> None:
    tokens = await house.signed_in()
    answer = await house.http.post(
        "/oauth2/introspect",
        data={"token": tokens["access_token"]},
        auth=("dept-SAMR", SECRETS["dept-SAMR"]),
    )
    assert answer.json() == {"active": False}
    nobody = await house.http.post("/oauth2/introspect", data={"token": tokens["access_token"]})
    assert nobody.status_code == 401


async def test_a_suspended_account_gets_nothing_more(house: House) -> None:
    tokens = await house.signed_in("13800000002")
    operator = bearer(await house.signed_in("o01"))
    person = bearer(tokens)
    path = "/v1/accounts/acc_lisi/suspend"
    assert (await house.http.post(path, headers=person)).status_code == 403
    stale = await house.http.post(path, headers={**operator, "if-match": '"7"'})
    assert stale.status_code == 412
    done = await house.http.post(path, headers={**operator, "if-match": '"1"'})
    assert done.json()["state"] == "suspended"
    assert (await house.http.post(path, headers=operator)).json()["code"] == "illegal_move"
    assert (await house.refresh(tokens["refresh_token"])).status_code == 400
    assert (await house.http.get("/oauth2/userinfo", headers=person)).status_code == 401
    browser = house.browser()
    await browser.get(Start().url)
    page = await browser.submit(login="13800000002", password="Beam-demo-2026")
    assert page.status_code == 422
    back = await house.http.post("/v1/accounts/acc_lisi/restore", headers=operator)
    assert back.json() == {"id": "acc_lisi", "state": "active", "version": 3}
    assert (await house.signed_in("13800000002"))["access_token"]


async def test_keys_take_turns(house: House) -> None:
    runtime = house.running.runtime
    # The service's own view: another one would be told, and the service would go on signing with
    # the old key until its view is five seconds old. A token that falls into that moment is of a
    # key that is not published any more (an hour too soon), so it cannot be given back.
    ring: keys.SigningKeys = runtime.parts["keys"]
    before = await ring.current()
    published = {k["kid"] for k in (await ring.jwks())["keys"]}
    old = await house.signed_in()
    async with runtime.sessions.begin() as session:
        assert not await keys.rotate(session, runtime.vault, older_than=timedelta())
        await session.execute(update(SigningKeyRow).values(created_at=now() - timedelta(hours=25)))
        assert not await keys.rotate(session, runtime.vault, older_than=timedelta(days=1))
        assert await keys.rotate(session, runtime.vault, older_than=timedelta())
    await ring.refresh(force=True)
    after = await ring.current()
    assert after.kid != before.kid
    assert after.kid in published
    assert {before.kid, after.kid} < {k["kid"] for k in (await ring.jwks())["keys"]}
    assert (await house.http.get("/v1/me", headers=bearer(old))).status_code == 200
    async with runtime.sessions.begin() as session:
        row = await session.scalar(select(SigningKeyRow).where(SigningKeyRow.state == "retired"))
        assert row is not None
        row.retired_at = now() - timedelta(hours=2)
        assert b"PRIVATE" not in row.pem
    await ring.refresh(force=True)
    assert before.kid not in {k["kid"] for k in (await ring.jwks())["keys"]}


async def test_tokens_survive_a_restart_and_another_process(
    ground: Ground, nats_url: str, secrets_file: Any
) -> None:
    database = await ground.database("identity_svc")
    setting = {"nats": nats_url, "database": database, "service_secrets_file": secrets_file}
    async with (
        ground.service("identity_svc", **setting) as one,
        ground.service("identity_svc", **setting) as two,
    ):
        token = await House(one).service()
        path = "/internal/v1/accounts/acc_nobody/holder"
        assert (await two.client.get(path, headers=token)).status_code == 404
    async with ground.service("identity_svc", **setting) as again:
        assert (await again.client.get(path, headers=token)).status_code == 404


async def test_a_client_that_lost_its_secret_is_off(
    ground: Ground, nats_url: str, secrets_file: Any, tmp_path: Any
) -> None:
    database = await ground.database("identity_svc")
    async with ground.service(
        "identity_svc", nats=nats_url, database=database, service_secrets_file=secrets_file
    ) as one:
        assert await House(one).service("svc-case")
    fewer = tmp_path / "secrets.json"
    fewer.write_text('{"svc-licence": "another-secret-0123456789abcdef-0123456789"}')
    async with ground.service(
        "identity_svc", nats=nats_url, database=database, service_secrets_file=fewer
    ) as two:
        off = await House(two).token(
            ("svc-case", SECRETS["svc-case"]), grant_type="client_credentials"
        )
        old = await House(two).token(
            ("svc-licence", SECRETS["svc-licence"]), grant_type="client_credentials"
        )
        assert (off.status_code, old.status_code) == (401, 401)


async def test_signing_out_ends_the_access_tokens(house: House) -> None:
    """Not only the refresh tokens: every verifier hears of it."""
    start, browser = Start(), house.browser()
    back = await browser.sign_in(start)
    tokens = (await house.exchange(start, back["code"])).json()
    assert (await house.http.get("/v1/me", headers=bearer(tokens))).status_code == 200
    await browser.get("/oauth2/logout")
    await browser.submit()

    async def refused() -> bool:
        return (await house.http.get("/v1/me", headers=bearer(tokens))).status_code == 401

    await until(refused)
    given = await house.signed_in()
    revoke = {"token": given["access_token"], "client_id": "demo-app"}
    assert (await house.http.post("/oauth2/revoke", data=revoke)).status_code == 200

    async def given_back() -> bool:
        return (await house.http.get("/v1/me", headers=bearer(given))).status_code == 401

    await until(given_back)
