"""Signing keys take turns under load, are fetched seldom, outlast the issuer, and are withdrawn."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from beam import identity_desk
from beam.trouble import Trouble
from identity_svc import keys, seed
from identity_svc.models import SigningKeyRow
from kit import auth, errors
from kit.auth import Anyone, Keyring
from kit.clock import now
from kit.errors import Unauthenticated, Unavailable
from kit.jose import SigningKey
from kit.testing import Ground, serve, until

from .conftest import House, bearer

HOURS = 3600.0


class Clock:
    """The clock of kit.auth, to be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def time(self) -> float:
        return time.time()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(auth, "time", made)
    return made


@pytest.fixture
async def house(ground: Ground, nats_url: str, secrets_file: Path) -> AsyncIterator[House]:
    async with ground.service(
        "identity_svc", nats=nats_url, service_secrets_file=secrets_file
    ) as running:
        await seed.seed(running.runtime)
        yield House(running)


class Issuer:
    """A real server with a JWKS that counts who fetches it."""

    def __init__(self) -> None:
        self.key = SigningKey(SigningKey.generate())
        self.fetched = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.fetched += 1
        body = json.dumps({"keys": [self.key.public_jwk]}).encode()
        head = {"type": "http.response.start", "status": 200, "headers": []}
        await send(head)
        await send({"type": "http.response.body", "body": body})

    def token(self, key: SigningKey | None = None, **changes: Any) -> str:
        at = int(time.time())
        claims = {"iss": "http://beam.test", "aud": "beam", "sub": "acc_1", "jti": "1", "iat": at}
        return (key or self.key).sign({**claims, "exp": at + 600, **changes}, "at+jwt")


def verifier(ring: Keyring) -> FastAPI:
    """A service with nothing but the kit's door."""
    app = FastAPI()
    errors.install(app)
    app.state.runtime = SimpleNamespace(keyring=ring)

    @app.get("/who")
    async def who(caller: Anyone) -> dict[str, str]:
        return {"sub": caller.subject}

    return app


async def test_two_turns_under_load_and_nobody_is_refused(house: House, clock: Clock) -> None:
    runtime = house.running.runtime
    ring: keys.SigningKeys = runtime.parts["keys"]
    answers: list[int] = []
    kids: set[str] = set()
    old: list[dict[str, str]] = []

    async def a_day_later() -> None:
        """Every verifier has read the keys again, as it does twice a day; the next takes over."""
        clock.ahead += 13 * HOURS
        async with runtime.sessions.begin() as session:
            past = SigningKeyRow.created_at - timedelta(hours=25)
            await session.execute(update(SigningKeyRow).values(created_at=past))
        await asyncio.sleep(0.1)
        async with runtime.sessions.begin() as session:
            assert await keys.rotate(session, runtime.vault, older_than=timedelta())
        await ring.refresh(force=True)

    async def worker(client: httpx.AsyncClient) -> None:
        for n in range(45):
            fresh = await house.service("svc-case")
            kids.add((await ring.current()).kid)
            old.append(fresh)
            for headers in (fresh, old[n // 2]):
                answers.append((await client.get("/who", headers=headers)).status_code)

    async with (
        serve(house.running.app, lifespan="off") as issuer,
        serve(
            verifier(Keyring("http://beam.test", f"{issuer}/.well-known/jwks.json")),
            lifespan="off",
        ) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        working = [asyncio.create_task(worker(client)) for _ in range(4)]
        for share in (100, 220):
            while len(answers) < share:
                await asyncio.sleep(0.005)
            await a_day_later()
        await asyncio.gather(*working)
    assert len(kids) == 3
    assert len(answers) == 360
    assert [code for code in answers if code != 200] == []


async def test_two_keys_are_published_always(house: House) -> None:
    runtime = house.running.runtime

    async def states() -> list[str]:
        async with runtime.sessions() as session:
            return [turn.state for turn in await keys.turns(session, key_days=30)]

    assert sorted(await states()) == ["current", "next"]
    async with runtime.sessions.begin() as session:
        await keys.withdraw(session, runtime.vault)
    assert sorted(await states()) == ["current", "next"]
    async with runtime.sessions.begin() as session:
        await session.execute(update(SigningKeyRow).values(created_at=now() - timedelta(hours=25)))
        await keys.rotate(session, runtime.vault, older_than=timedelta())
    assert sorted(await states()) == ["current", "next", "retired"]
    document = (await house.http.get("/.well-known/jwks.json")).json()
    assert len(document["keys"]) >= 2
    assert all("d" not in key for key in document["keys"])


async def test_a_flood_of_unknown_keys_is_one_fetch_in_thirty_seconds(clock: Clock) -> None:
    issuer = Issuer()
    async with serve(issuer, lifespan="off") as url:
        ring = Keyring("http://beam.test", f"{url}/jwks.json")
        assert (await ring.verify(issuer.token())).subject == "acc_1"
        assert issuer.fetched == 1
        strangers = [SigningKey(SigningKey.generate()) for _ in range(20)]

        async def flood() -> None:
            results = await asyncio.gather(
                *(ring.verify(issuer.token(key)) for key in strangers for _ in range(10)),
                return_exceptions=True,
            )
            assert all(isinstance(result, Unauthenticated) for result in results)

        await flood()
        assert issuer.fetched == 1
        clock.ahead += 31
        await flood()
        await flood()
        assert issuer.fetched == 2
        clock.ahead += 29
        await flood()
        assert issuer.fetched == 2
        # A key that is really new is found by that one fetch.
        issuer.key = strangers[0]
        clock.ahead += 2
        assert (await ring.verify(issuer.token())).subject == "acc_1"
        assert issuer.fetched == 3


async def test_others_go_on_for_hours_without_the_issuer(clock: Clock) -> None:
    issuer = Issuer()
    async with serve(issuer, lifespan="off") as url:
        ring = Keyring("http://beam.test", f"{url}/jwks.json")
        await ring.verify(issuer.token())
    for hours in (1, 6, 13, 48):
        clock.ahead = hours * HOURS
        assert (await ring.verify(issuer.token(jti=f"after {hours}"))).subject == "acc_1"
    fresh = Keyring("http://beam.test", f"{url}/jwks.json")
    with pytest.raises(Unavailable):
        await fresh.verify(issuer.token())


@contextlib.contextmanager
def at_the_desk(house: House, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Any:
    settings = house.running.runtime.settings
    monkeypatch.setenv("BEAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("BEAM_VAULT_KEY_FILE", str(ground.vault_file))
    monkeypatch.setenv("BEAM_ENVIRONMENT", "test")
    yield


async def test_the_command_turns_the_keys(
    house: House, ground: Ground, monkeypatch: Any, capsys: Any
) -> None:
    runtime = house.running.runtime
    old = (await runtime.parts["keys"].current()).kid
    with at_the_desk(house, ground, monkeypatch):
        with pytest.raises(Trouble, match="not been public for a day"):
            await identity_desk.turn(emergency=False)
        async with runtime.sessions.begin() as session:
            past = now() - timedelta(hours=25)
            await session.execute(update(SigningKeyRow).values(created_at=past))
        await identity_desk.turn(emergency=False)
    told = capsys.readouterr().out
    assert f"{old} → " in told
    assert "retired" in told
    assert told.count("next") >= 1
    await runtime.parts["keys"].refresh(force=True)
    assert (await runtime.parts["keys"].current()).kid != old


async def test_a_leaked_key_is_dead_everywhere_at_once(
    house: House, ground: Ground, monkeypatch: Any, capsys: Any
) -> None:
    runtime = house.running.runtime
    held = await house.signed_in()
    # Somebody with a copy of the key makes tokens of his own.
    stolen = await runtime.parts["keys"].current()
    at = int(time.time())
    claims = {"iss": "http://beam.test", "aud": "beam", "sub": "acc_lisi", "jti": "x", "iat": at}
    forged = {"access_token": stolen.sign({**claims, "exp": at + 600}, "at+jwt")}
    for tokens in (held, forged):
        assert (await house.http.get("/v1/me", headers=bearer(tokens))).status_code == 200
    with at_the_desk(house, ground, monkeypatch):
        await identity_desk.turn(emergency=True)
    assert "withdrawn" in capsys.readouterr().out
    async with runtime.sessions() as session:
        row = await session.scalar(select(SigningKeyRow).where(SigningKeyRow.kid == stolen.kid))
        assert row is not None
        assert (row.state, row.retired_at) == ("withdrawn", None)

    async def refused() -> bool:
        answers = [await house.http.get("/v1/me", headers=bearer(t)) for t in (held, forged)]
        return {answer.status_code for answer in answers} == {401}

    await until(refused)
    await runtime.parts["keys"].refresh(force=True)
    document = (await house.http.get("/.well-known/jwks.json")).json()
    assert stolen.kid not in {key["kid"] for key in document["keys"]}
    again = await house.refresh(held["refresh_token"])
    assert (await house.http.get("/v1/me", headers=bearer(again.json()))).status_code == 200
    # A verifier that reads an old copy of the key set does not believe it either.
    ring = Keyring("http://beam.test", _only(stolen))
    ring.revoked.note("key", stolen.kid, time.time())
    with pytest.raises((Unauthenticated, Unavailable)):
        await ring.verify(forged["access_token"])


def _only(key: SigningKey) -> Any:
    async def load() -> dict[str, Any]:
        return {"keys": [key.public_jwk]}

    return load
