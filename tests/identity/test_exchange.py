"""Token exchange (RFC 8693): who may act for a person, with how much, and until when."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwk, jwt

from identity_svc import clients, seed
from identity_svc.exchange import ACCESS_TOKEN, EXCHANGE
from kit.auth import Caller, Keyring
from kit.errors import Unauthenticated
from kit.jose import BadToken
from kit.testing import Ground, until

from .conftest import CALLBACK, SECRETS, House, Start, bearer
from .holders import Holder


@pytest.fixture(scope="module")
async def house(ground: Ground, nats_url: str, secrets_file: Path) -> AsyncIterator[House]:
    async with ground.service(
        "identity_svc",
        nats=nats_url,
        service_secrets_file=secrets_file,
        exchange_clients=("svc-licence", "svc-case", "dept-SAMR"),
    ) as running:
        await seed.seed(running.runtime)
        async with running.runtime.sessions.begin() as session:
            named = clients.app("named", "指定", "Named", [CALLBACK])
            await clients.put(session, {**named, "may_act": "svc-licence"})
        yield House(running)


async def swap(
    house: House, token: str, client: str = "svc-case", proof: str | None = None, **fields: str
) -> httpx.Response:
    sent = {
        "grant_type": EXCHANGE,
        "subject_token": token,
        "subject_token_type": ACCESS_TOKEN,
        **fields,
    }
    headers = {"dpop": proof} if proof else {}
    return await house.http.post(
        "/oauth2/token",
        data={name: value for name, value in sent.items() if value},
        auth=(client, SECRETS[client]),
        headers=headers,
    )


async def claims_of(house: House, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    known = jwk.KeySet.import_key_set((await house.http.get("/.well-known/jwks.json")).json())
    found: dict[str, Any] = jwt.decode(
        answer.json()["access_token"], known, algorithms=["ES256"]
    ).claims
    return found


async def test_a_service_acts_for_a_person(house: House) -> None:
    mine = await house.signed_in()
    answer = await swap(house, mine["access_token"], scope="openid", audience="beam:licence")
    assert answer.status_code == 200, answer.text
    assert answer.json()["issued_token_type"] == ACCESS_TOKEN
    assert "refresh_token" not in answer.json()
    claims = await claims_of(house, answer)
    assert claims["sub"] == "acc_zhangsan"
    assert claims["act"] == {"sub": "svc-case"}
    assert (claims["scope"], claims["aud"]) == ("openid", "beam:licence")
    assert (claims["client_id"], claims["kind"], claims["acr"]) == ("svc-case", "person", "L3")
    first = jwt.decode(
        mine["access_token"],
        jwk.KeySet.import_key_set((await house.http.get("/.well-known/jwks.json")).json()),
        algorithms=["ES256"],
    ).claims
    assert claims["exp"] <= first["exp"]
    # The one service that it is for takes it, another does not.
    runtime = house.running.runtime
    token = answer.json()["access_token"]
    licence, payment = (
        Keyring(runtime.settings.issuer, runtime.parts["keys"].jwks, services=[name])
        for name in ("licence", "payment")
    )
    caller = await licence.verify(token)
    assert (caller.subject, caller.actor, caller.actors) == (
        "acc_zhangsan",
        "svc-case",
        ("svc-case",),
    )
    with pytest.raises(Unauthenticated):
        await payment.verify(token)
    assert (await house.http.get("/v1/me", headers=bearer(answer.json()))).status_code == 401


async def test_the_chain_of_actors_is_kept_and_ends(house: House) -> None:
    token = (await house.signed_in())["access_token"]
    for depth in range(4):
        answer = await swap(house, token, "svc-case" if depth % 2 else "svc-licence")
        claims = await claims_of(house, answer)
        token = answer.json()["access_token"]
    caller = Caller.from_claims(claims, token)
    assert caller.actors == ("svc-case", "svc-licence", "svc-case", "svc-licence")
    longer = await swap(house, token)
    assert (longer.status_code, longer.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("act", [{}, {"sub": 7}, {"sub": ""}, "svc-x", [], {"sub": "a", "act": 1}])
def test_an_odd_chain_is_no_caller(act: Any) -> None:
    claims = {"sub": "acc_1", "jti": "1", "exp": 1, "iat": 1, "kind": "person", "act": act}
    with pytest.raises(BadToken):
        Caller.from_claims(claims, "")


def test_a_chain_has_an_end() -> None:
    act: dict[str, Any] | None = None
    for name in "abcde":
        act = {"sub": name, **({"act": act} if act else {})}
    with pytest.raises(BadToken):
        Caller.from_claims({"sub": "x", "jti": "1", "exp": 1, "iat": 1, "act": act}, "")


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "more scope": ({"scope": "openid profile internal"}, "invalid_scope"),
    "unknown scope": ({"scope": "everything"}, "invalid_scope"),
    "unknown audience": ({"audience": "beam:nobody"}, "invalid_target"),
    "foreign audience": ({"audience": "https://evil.example"}, "invalid_target"),
    "a resource": ({"resource": "https://evil.example/"}, "invalid_target"),
    "an id_token": (
        {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        "invalid_request",
    ),
    "asks for a refresh token": (
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        "invalid_request",
    ),
    "an actor token": ({"actor_token": "x", "actor_token_type": ACCESS_TOKEN}, "invalid_request"),
    "no type": ({"subject_token_type": ""}, "invalid_request"),
    "no token": ({"subject_token": ""}, "invalid_request"),
    "nonsense": ({"subject_token": "e30.e30.AAAA"}, "invalid_grant"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_not_exchanged(house: House, name: str) -> None:
    changes, error = REFUSED[name]
    token = (await house.signed_in())["access_token"]
    answer = await swap(house, token, **changes)
    assert (answer.status_code, answer.json()["error"]) == (400, error), answer.text


async def test_who_may_not_exchange(house: House) -> None:
    token = (await house.signed_in())["access_token"]
    unregistered = await swap(house, token, "dept-FIRE")
    assert (unregistered.status_code, unregistered.json()["error"]) == (400, "unauthorized_client")
    public = await house.token(
        grant_type=EXCHANGE,
        client_id="demo-app",
        subject_token=token,
        subject_token_type=ACCESS_TOKEN,
    )
    assert (public.status_code, public.json()["error"]) == (401, "invalid_client")
    department = await claims_of(house, await swap(house, token, "dept-SAMR"))
    assert department["act"] == {"sub": "dept-SAMR"}
    assert department["kind"] == "person"


async def test_may_act_names_the_one_who_may(house: House) -> None:
    start = Start(changes={"client_id": "named"})
    back = await house.code(start)
    token = (await house.exchange(start, back["code"], client_id="named")).json()["access_token"]
    other = await swap(house, token, "svc-case")
    assert (other.status_code, other.json()["error"]) == (400, "invalid_grant")
    claims = await claims_of(house, await swap(house, token, "svc-licence"))
    assert claims["act"] == {"sub": "svc-licence"}


async def test_a_token_for_one_service_goes_no_further(house: House) -> None:
    token = (await house.signed_in())["access_token"]
    for_licence = (await swap(house, token, audience="beam:licence")).json()["access_token"]
    for client, wanted in (("svc-case", "beam:licence"), ("svc-licence", "beam:payment")):
        answer = await swap(house, for_licence, client, audience=wanted)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")
    wide = await swap(house, for_licence, "svc-licence", audience="beam")
    assert wide.json()["error"] == "invalid_target"
    assert (await swap(house, for_licence, "svc-licence")).status_code == 200


async def test_a_service_has_nobody_to_act_for(house: House) -> None:
    own = (await house.service("svc-licence"))["authorization"].removeprefix("Bearer ")
    assert (await swap(house, own)).json()["error"] == "invalid_grant"


async def test_a_bound_token_stays_bound(house: House) -> None:
    holder, service, start = Holder(), Holder(), Start()
    back = await house.code(start)
    form = {
        "grant_type": "authorization_code",
        "client_id": "demo-app",
        "redirect_uri": CALLBACK,
        "code": back["code"],
        "code_verifier": start.verifier,
    }
    headers = {"dpop": holder.proof("POST", "/oauth2/token")}
    bound = (await house.http.post("/oauth2/token", data=form, headers=headers)).json()
    refused = await swap(house, bound["access_token"])
    assert refused.json()["error"] == "invalid_dpop_proof"
    proof = service.proof("POST", "/oauth2/token")
    claims = await claims_of(house, await swap(house, bound["access_token"], proof=proof))
    assert claims["cnf"] == {"jkt": service.jkt}


async def test_the_end_of_the_sign_in_is_the_end_of_it(house: House) -> None:
    tokens = await house.signed_in()
    acting = (await swap(house, tokens["access_token"])).json()
    assert (await house.http.get("/v1/me", headers=bearer(acting))).status_code == 200
    revoke = {"token": tokens["refresh_token"], "client_id": "demo-app"}
    assert (await house.http.post("/oauth2/revoke", data=revoke)).status_code == 200

    async def refused() -> bool:
        return (await house.http.get("/v1/me", headers=bearer(acting))).status_code == 401

    await until(refused)
    assert (await swap(house, tokens["access_token"])).json()["error"] == "invalid_grant"
    assert (await swap(house, acting["access_token"])).json()["error"] == "invalid_grant"


async def test_an_old_token_is_not_exchanged(house: House, monkeypatch: Any) -> None:
    token = (await house.signed_in())["access_token"]
    later = time.time() + 700
    monkeypatch.setattr(time, "time", lambda: later)
    answer = await swap(house, token)
    assert answer.json()["error"] == "invalid_grant"


async def test_events_and_the_trail_tell_who_acted(house: House) -> None:
    """What a member of staff does through a service: the trail has both, the event too."""
    operator = (await house.signed_in("o01"))["access_token"]
    acting = (await swap(house, operator)).json()
    path = "/v1/accounts/acc_lisi/suspend"
    assert (await house.http.post(path, headers=bearer(acting))).status_code == 200
    await house.http.post("/v1/accounts/acc_lisi/restore", headers=bearer(acting))
    trail = await house.http.get("/v1/ops/identity/staff-actions", headers=bearer(acting))
    first = trail.json()["items"][0]
    assert first["actor"] == "stf_o01"
    assert first["things"]["via"] == ["svc-case"]
    from sqlalchemy import select

    from kit.outbox import Outbox

    async with house.running.runtime.sessions() as session:
        body = await session.scalar(
            select(Outbox.body).where(Outbox.body.contains("identity.account_suspended.v1"))
        )
    assert body is not None
    assert '"actor":"svc-case"' in body
    assert '"onbehalfof":"stf_o01"' in body


async def test_many_at_once(house: House) -> None:
    token = (await house.signed_in())["access_token"]
    answers = await asyncio.gather(*(swap(house, token) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["access_token"] for answer in answers}) == 10
