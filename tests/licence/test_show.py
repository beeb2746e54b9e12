"""Reading, showing and verifying licences over REST."""

import asyncio
import base64
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from kit.ids import new_id
from kit.jose import SigningKey
from kit.testing import Ground, Running, key
from licence_svc import presentations
from licence_svc.models import Licence, Presentation

from .conftest import ZHANG, Grantor
from .test_issue import events


async def show(svc: Running, ground: Ground, licence_id: str, who: str = ZHANG.account_id) -> Any:
    return await svc.client.post(
        f"/v1/licences/{licence_id}/present",
        json={"purpose": "开户时核验"},
        headers=ground.person(who) | key(),
    )


async def verify(svc: Running, token: str) -> dict[str, Any]:
    answer = await svc.client.post("/v1/verify", json={"token": token})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_shown_once_verified_once(svc: Running, ground: Ground, grant: Grantor) -> None:
    licence = await grant()
    with svc.keys_taken() as taken:
        answer = await show(svc, ground, licence.id)
    assert answer.status_code == 201
    assert not taken
    shown = answer.json()
    assert shown["qr_svg"].startswith("<svg")
    assert len(shown["token"]) < 800  # a QR code of it is still easily read from a screen
    left = datetime.fromisoformat(shown["expires_at"]) - datetime.now(UTC)
    assert timedelta(0) < left <= timedelta(seconds=60)
    told = await verify(svc, shown["token"])
    assert told == {
        "accepted": True,
        "reason": None,
        "licence_type": "LT-BIZ",
        "name": "营业执照",
        "number": licence.number,
        "issuer_name": "上海市市场监督管理局",
        "state": "active",
        "valid_until": None,
        "holder_name": "张**",
        "holder_number": "310***********1231",
        "purpose": "开户时核验",
    }
    again = await verify(svc, shown["token"])
    assert (again["accepted"], again["reason"]) == (False, "already_used")
    assert again["number"] is None
    [event] = await events(svc, shown["id"], "licence.presentation_used.v1")
    assert event["data"] == {
        "presentation_id": shown["id"],
        "licence_id": licence.id,
        "holder_id": ZHANG.account_id,
    }
    assert (event["region"], event["dept"]) == ("310115", "SAMR")


async def test_many_verifiers_one_success(svc: Running, ground: Ground, grant: Grantor) -> None:
    licence = await grant()
    shown = (await show(svc, ground, licence.id)).json()
    told = await asyncio.gather(*(verify(svc, shown["token"]) for _ in range(8)))
    assert sorted(t["reason"] or "accepted" for t in told) == ["accepted"] + ["already_used"] * 7
    assert len(await events(svc, shown["id"], "licence.presentation_used.v1")) == 1


async def test_a_verifier_who_repeats_with_its_key_gets_the_same_answer(
    svc: Running, ground: Ground, grant: Grantor
) -> None:
    licence = await grant()
    shown = (await show(svc, ground, licence.id)).json()
    same = key()
    first = await svc.client.post("/v1/verify", json={"token": shown["token"]}, headers=same)
    second = await svc.client.post("/v1/verify", json={"token": shown["token"]}, headers=same)
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert second.json()["accepted"] is True


async def test_expired(svc: Running, ground: Ground, grant: Grantor) -> None:
    licence = await grant()
    shown = (await show(svc, ground, licence.id)).json()
    async with svc.runtime.sessions.begin() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        row = update(Presentation).where(Presentation.id == shown["id"])
        await session.execute(row.values(expires_at=past))
    assert (await verify(svc, shown["token"]))["reason"] == "expired"
    async with svc.runtime.sessions.begin() as session:
        assert await presentations.expire_overdue(session) >= 1
        assert (await session.get_one(Presentation, shown["id"])).state == "expired"
    assert (await verify(svc, shown["token"]))["reason"] == "expired"


def part(token: str, n: int) -> dict[str, Any]:
    raw = token.split(".")[n]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))
    return read


async def test_an_old_token_is_expired_not_invalid(
    svc: Running, ground: Ground, grant: Grantor
) -> None:
    licence = await grant()
    claims = part((await show(svc, ground, licence.id)).json()["token"], 1)
    claims |= {"iat": claims["iat"] - 600, "exp": claims["exp"] - 600}
    old = svc.runtime.parts["signer"].key.sign(claims, presentations.TYPE)
    assert (await verify(svc, old))["reason"] == "expired"


async def test_forged_tokens(svc: Running, ground: Ground, grant: Grantor) -> None:
    licence = await grant()
    token = (await show(svc, ground, licence.id)).json()["token"]
    head, body, signature = token.split(".")
    claims = part(token, 1)
    signer = svc.runtime.parts["signer"]
    other = signer.key.sign({**claims, "jti": "pres_unknown"}, presentations.TYPE)
    flipped = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    forgeries = [
        f"{head}.{body}.{flipped}",
        f"{other.split('.')[0]}.{other.split('.')[1]}.{signature}",
        other,
        SigningKey(SigningKey.generate()).sign(claims, presentations.TYPE),
        signer.key.sign(claims, "at+jwt"),
        signer.key.sign({**claims, "aud": "beam"}, presentations.TYPE),
        signer.key.sign({**claims, "iss": "http://elsewhere.test"}, presentations.TYPE),
        ground.token("acc_1", "person"),
        "not a token",
        "a.b.c",
    ]
    for forged in forgeries:
        told = await verify(svc, forged)
        assert (told["accepted"], told["reason"], told["number"]) == (False, "token_invalid", None)
    assert (await verify(svc, token))["accepted"] is True


async def change(svc: Running, ground: Ground, licence: Licence, action: str, **who: Any) -> Any:
    staff = {"role": "reviewer", "dept": "SAMR", "region": "310115"} | who
    return await svc.client.post(
        f"/v1/licences/{licence.id}/status",
        json={"action": action, "reason_code": "investigation"},
        headers=ground.staff(**staff),
    )


async def test_a_suspended_licence_is_refused_until_resumed(
    svc: Running, ground: Ground, grant: Grantor
) -> None:
    licence = await grant()
    shown = (await show(svc, ground, licence.id)).json()
    assert (await change(svc, ground, licence, "suspend")).json()["state"] == "suspended"
    told = await verify(svc, shown["token"])
    assert (told["reason"], told["state"]) == ("licence_suspended", "suspended")
    assert told["holder_name"] is None
    refused = await show(svc, ground, licence.id)
    assert (refused.status_code, refused.json()["code"]) == (409, "licence_not_valid")
    assert refused.json()["reason"] == "licence_suspended"
    assert (await change(svc, ground, licence, "resume")).status_code == 200
    assert (await verify(svc, shown["token"]))["accepted"] is True
    async with svc.runtime.sessions() as session:
        trail = await session.execute(
            text("select action, actor from licence_change where licence_id = :id order by id"),
            {"id": licence.id},
        )
        assert [tuple(row) for row in trail] == [("suspend", "acc_staff"), ("resume", "acc_staff")]


async def test_a_licence_that_ended_since_is_refused(
    svc: Running, ground: Ground, grant: Grantor
) -> None:
    licence = await grant()
    shown = (await show(svc, ground, licence.id)).json()
    async with svc.runtime.sessions.begin() as session:
        row = update(Licence).where(Licence.id == licence.id)
        await session.execute(row.values(valid_until=date(2026, 1, 6)))
    assert (await verify(svc, shown["token"]))["reason"] == "licence_expired"


async def test_revoked_is_for_good(svc: Running, ground: Ground, grant: Grantor) -> None:
    licence = await grant()
    assert (await change(svc, ground, licence, "revoke")).json()["state"] == "revoked"
    back = await change(svc, ground, licence, "resume")
    assert (back.status_code, back.json()["code"]) == (409, "illegal_move")


@pytest.mark.parametrize(
    ("who", "status"),
    [({"dept": "FIRE"}, 404), ({"region": "310101"}, 404), ({"role": "counter"}, 403)],
)
async def test_only_the_issuing_department_changes_it(
    svc: Running, ground: Ground, grant: Grantor, who: dict[str, str], status: int
) -> None:
    licence = await grant()
    assert (await change(svc, ground, licence, "suspend", **who)).status_code == status


async def test_somebody_elses_licence_is_not_there(
    svc: Running, ground: Ground, grant: Grantor
) -> None:
    licence = await grant()
    stranger = ground.person("acc_stranger")
    for path in (f"/v1/licences/{licence.id}", f"/v1/licences/{licence.id}/credential"):
        answer = await svc.client.get(path, headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert (await svc.client.get(path)).status_code == 401
    assert (await show(svc, ground, licence.id, "acc_stranger")).status_code == 404
    mine = await svc.client.get("/v1/me/licences", headers=stranger)
    assert mine.json() == {"items": [], "next": None}
    staff = await svc.client.get("/v1/me/licences", headers=ground.staff("reviewer", "SAMR"))
    assert staff.status_code == 403


async def test_my_licences_in_pages(svc: Running, ground: Ground, grant: Grantor) -> None:
    holder = type(ZHANG)("acc_pages", "person", "王五", "310115199203034518")
    made = [await grant(holder) for _ in range(3)] + [await grant(holder, licence_type="LT-FOOD")]
    headers = ground.person(holder.account_id)
    first = (await svc.client.get("/v1/me/licences?limit=3", headers=headers)).json()
    second = (await svc.client.get(first["next"], headers=headers)).json()
    assert [x["id"] for x in first["items"] + second["items"]] == [x.id for x in made[::-1]]
    assert second["next"] is None
    food = await svc.client.get("/v1/me/licences?licence_type=LT-FOOD", headers=headers)
    assert [x["id"] for x in food.json()["items"]] == [made[-1].id]
    foreign = await svc.client.get(first["next"], headers=ground.person("acc_other"))
    assert (foreign.status_code, foreign.json()["code"]) == (400, "bad_cursor")
    assert "王五" not in json.dumps(first, ensure_ascii=False)
    assert first["items"][0]["holder_name"] == "王*"


async def test_what_i_hold_today_is_short_however_much_i_had(
    svc: Running, ground: Ground, grant: Grantor
) -> None:
    holder = type(ZHANG)("acc_many", "person", "赵六", "31011519950606531X")
    shop = await grant(holder)
    foods = [await grant(holder, licence_type="LT-FOOD") for _ in range(3)]
    await grant(holder, licence_type="LT-HEALTH", valid_from=date(2020, 1, 1), years=1)
    await grant(holder, licence_type="LT-PROP", valid_from=date(2099, 1, 1))
    await change(svc, ground, foods[2], "suspend")
    answer = await svc.client.get(
        "/v1/me/licences/in-force", headers=ground.person(holder.account_id)
    )
    assert [x["id"] for x in answer.json()["items"]] == [shop.id, foods[1].id]


async def test_one_licence_with_etag_and_national_metadata(
    svc: Running, ground: Ground, grant: Grantor
) -> None:
    licence = await grant(valid_from=date(2026, 3, 1), years=5)
    headers = ground.person(ZHANG.account_id)
    answer = await svc.client.get(f"/v1/licences/{licence.id}", headers=headers)
    assert answer.headers["etag"] == '"1"'
    told = answer.json()
    assert told["fields"] == {"name": "三丰面馆"}
    assert told["metadata"] == {
        "ZZMC": "营业执照",
        "ZZLXDM": licence.type_code,
        "ZZBH": licence.serial,
        "ZZBS": licence.number,
        "ZZBFJG": "上海市市场监督管理局",
        "ZZBFJGDM": "11310000MB9000015H",
        "ZZBFRQ": told["metadata"]["ZZBFRQ"],
        "CZZT": "张**",
        "CZZTDM": "310***********1231",
        "CZZTDMLX": "公民身份号码",
        "CZZTDMLXDM": "111",
        "ZZYXQQSRQ": "2026-03-01",
        "ZZYXQJZRQ": "2031-02-28",
        "ZZZT": "01",
    }
    assert ZHANG.number not in answer.text
    unchanged = headers | {"if-none-match": '"1"'}
    assert (
        await svc.client.get(f"/v1/licences/{licence.id}", headers=unchanged)
    ).status_code == 304


@pytest.mark.parametrize(
    "body", [{}, {"purpose": "x"}, {"purpose": "长" * 201}, {"purpose": "开户", "more": 1}, []]
)
async def test_bad_purposes(svc: Running, ground: Ground, grant: Grantor, body: Any) -> None:
    licence = await grant()
    answer = await svc.client.post(
        f"/v1/licences/{licence.id}/present",
        json=body,
        headers=ground.person(ZHANG.account_id) | key(),
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_types_are_public(svc: Running) -> None:
    answer = await svc.client.get("/v1/licence-types")
    codes = {kind["code"] for kind in answer.json()["items"]}
    assert {"LT-FOOD", "LT-BIZ", "LT-ID"} <= codes
    assert len(codes) == 21


async def test_showing_needs_nothing_but_the_database(ground: Ground) -> None:
    """No broker, no identity, no case: a licence that is there can be shown and verified."""
    from licence_svc import licences

    dead = "http://127.0.0.1:9"
    async with ground.service(
        "licence_svc",
        nats="nats://127.0.0.1:9",
        identity_url=dead,
        case_url=dead,
        token_url=dead,
        catalog_url=dead,
    ) as svc:
        async with svc.runtime.sessions.begin() as session:
            licence = await licences.issue(
                session,
                svc.runtime.vault,
                svc.runtime.parts["signer"],
                ZHANG,
                licences.Grant(new_id("lic"), "LT-BIZ", "310115", "SAMR", date(2026, 1, 5), None),
            )
        shown = await show(svc, ground, licence.id)
        assert shown.status_code == 201
        assert (await verify(svc, shown.json()["token"]))["accepted"] is True
