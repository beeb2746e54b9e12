"""Systems that operators register from the command line, and keys that clients lay out."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from beam import client_desk
from beam.trouble import Trouble
from identity_svc import client_keys
from kit.testing import Ground, key
from sandbox.testing import Call, Listener, listening

from .conftest import CALLBACK, House, Start, bearer
from .holders import Holder


@pytest.fixture(autouse=True)
def at_the_desk(house: House, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = house.running.runtime.settings
    monkeypatch.setenv("BEAM_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("BEAM_VAULT_KEY_FILE", str(ground.vault_file))
    monkeypatch.setenv("BEAM_ENVIRONMENT", "test")


async def register(**changes: Any) -> dict[str, str]:
    about: dict[str, Any] = {
        "name": "档案系统",
        "name_en": "Archive",
        "redirect_uris": [CALLBACK],
        "logout_uris": [],
        "backchannel_logout_uri": None,
        "scopes": ["openid", "profile"],
        "grants": ["code"],
        "secret": False,
        "jwks": None,
        "jwks_uri": None,
        "dept": "SAMR",
        "strict": False,
        "third_party": False,
        "by": "cli:tester",
        **changes,
    }
    return await client_desk.register(**about)


async def test_a_departments_old_system_signs_people_in(house: House, capsys: Any) -> None:
    made = await register(secret=True)
    client_id, secret = made["client_id"], made["client_secret"]
    assert len(secret) >= 32
    start = Start(changes={"client_id": client_id})
    code = (await house.code(start))["code"]
    unproven = await house.exchange(start, code, client_id=client_id)
    assert unproven.json()["error"] == "invalid_client"
    wrong = await house.exchange(start, code, client_id=client_id, client_secret="x" * 43)
    assert wrong.json()["error"] == "invalid_client"
    tokens = await house.exchange(start, code, client_id=client_id, client_secret=secret)
    assert tokens.status_code == 200, tokens.text
    assert (await house.http.get("/v1/me", headers=bearer(tokens.json()))).status_code == 200
    await client_desk._list()
    listed = capsys.readouterr().out
    assert client_id in listed
    assert secret not in listed
    assert "SAMR" in listed
    await client_desk.switch(client_id, on=False)
    refused = await house.refresh(
        tokens.json()["refresh_token"], client_id=client_id, client_secret=secret
    )
    assert refused.status_code == 401
    await client_desk.switch(client_id, on=True)
    with pytest.raises(Trouble):
        await client_desk.switch("demo-app", on=False)


async def test_a_system_of_its_own_account(house: House) -> None:
    made = await register(secret=True, grants=["credentials", "exchange"], scopes=["events"])
    answer = await house.token(
        (made["client_id"], made["client_secret"]), grant_type="client_credentials"
    )
    caller = await house.running.runtime.keyring.verify(answer.json()["access_token"])
    assert (caller.kind, caller.dept, caller.scopes) == ("partner", "SAMR", {"events"})


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uris": []},
        {"redirect_uris": ["http://archive.example/callback"]},
        {"backchannel_logout_uri": "ftp://archive.example/"},
        {"dept": "NOBODY"},
        {"grants": ["everything"]},
        {"grants": ["exchange"]},
        {"grants": ["credentials"], "secret": True, "dept": None},
        {"scopes": ["internal"]},
        {"secret": True, "jwks_uri": "https://archive.example/keys"},
        {"jwks": Path("/nowhere/jwks.json")},
        {"name": "x"},
    ],
)
async def test_what_is_not_registered(changes: dict[str, Any]) -> None:
    with pytest.raises(Trouble):
        await register(**changes)


async def test_keys_from_a_file(house: House, tmp_path: Path) -> None:
    holder, file = Holder(), tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [holder.public]}))
    client_id = (await register(jwks=file))["client_id"]
    start = Start(changes={"client_id": client_id})
    code = (await house.code(start))["code"]
    form = {"client_id": client_id, **holder.assertion(client_id)}
    assert (await house.exchange(start, code, **form)).status_code == 200
    private = tmp_path / "private.json"
    private.write_text(json.dumps({"keys": [{**holder.public, "d": "AAAA"}]}))
    with pytest.raises(Trouble):
        await register(jwks=private)


class Keys:
    """What a client lays out, and how its address behaves."""

    def __init__(self) -> None:
        self.holders = [Holder()]
        self.status = 200

    def reply(self, _: Call) -> tuple[int, bytes]:
        return self.status, json.dumps({"keys": [h.public for h in self.holders]}).encode()


@pytest.fixture
async def laid_out() -> AsyncIterator[tuple[Keys, Listener]]:
    keys = Keys()
    async with listening(keys.reply) as listener:
        yield keys, listener


async def test_keys_that_a_client_lays_out(
    house: House, laid_out: tuple[Keys, Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, listener = laid_out
    client_id = (await register(jwks_uri=f"{listener.url}/jwks.json"))["client_id"]

    async def proves(holder: Holder) -> bool:
        start = Start(changes={"client_id": client_id})
        code = (await house.code(start))["code"]
        form = {"client_id": client_id, **holder.assertion(client_id)}
        return (await house.exchange(start, code, **form)).status_code == 200

    first, second = keys.holders[0], Holder()
    assert await proves(first)
    assert await proves(first)
    assert len(listener.calls) == 1
    # Strangers make us look again once in half a minute, no more.
    for _ in range(5):
        assert not await proves(Holder())
    assert len(listener.calls) == 1
    keys.holders = [second]
    monkeypatch.setattr(client_keys, "PAUSE_SECONDS", 0)
    assert await proves(second)
    assert not await proves(first)
    # Its address is away: what was read last serves on.
    keys.status = 500
    monkeypatch.setattr(client_keys, "FRESH_SECONDS", 0)
    assert await proves(second)
    monkeypatch.setattr(client_keys, "SERVES_SECONDS", 0)
    assert not await proves(second)


async def test_keys_at_an_inner_address_are_not_fetched(house: House) -> None:
    client_id = (await register(jwks_uri="https://10.0.0.1/jwks.json"))["client_id"]
    answer = await house.http.post(
        "/oauth2/par", data={"client_id": client_id, **Holder().assertion(client_id)}
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_by_the_interface_too(house: House) -> None:
    operator = bearer(await house.signed_in("o01"))
    body = {
        "name": "银行",
        "name_en": "Bank",
        "redirect_uris": ["https://bank.example/callback"],
        "scopes": ["openid"],
        "jwks_uri": "https://bank.example/jwks.json",
    }
    made = (await house.http.post("/v1/clients", json=body, headers={**operator, **key()})).json()
    assert (made["jwks_uri"], made["bound"], made["pushed_only"]) == (body["jwks_uri"], True, True)
    two = {**body, "keys": [Holder().public]}
    answer = await house.http.post("/v1/clients", json=two, headers={**operator, **key()})
    assert answer.status_code == 422
