"""What a verifier without our code can check: SD-JWT VC, status list, public keys."""

import base64
import hashlib
import json
import zlib
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from sqlalchemy import func, select

from kit.jose import KeySet, SigningKey
from kit.secrets import SealBroken, Vault
from kit.testing import Ground, Running
from licence_svc import credentials, keys, status_lists
from licence_svc.models import IssuerKey, Licence

from .conftest import ZHANG, Grantor
from .test_show import change

FIELDS = {
    "business_name": "三丰面馆",
    "premises_address": "浦东新区某路1号",
    "area_m2": 60,
    "contact_phone": "13800000009",
}


def b64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def checked(token: str, jwks: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of an ES256 JWT, verified with nothing but the cryptography library."""
    head, body, signature = token.split(".")
    header = json.loads(b64(head))
    assert header["alg"] == "ES256"
    [jwk] = [k for k in jwks["keys"] if k["kid"] == header["kid"]]
    x, y = (int.from_bytes(b64(jwk[name]), "big") for name in ("x", "y"))
    raw = b64(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    public.verify(der, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    return header, json.loads(b64(body))


def unfold(credential: str, jwks: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Claims and fields after the disclosures, each of which must match a digest once."""
    token, *disclosures, last = credential.split("~")
    assert last == ""
    header, claims = checked(token, jwks)
    assert header["typ"] == "dc+sd-jwt"
    assert claims.pop("_sd_alg") == "sha-256"
    fields = claims.pop("fields")
    digests = {"top": set(claims.pop("_sd")), "fields": set(fields.pop("_sd", ()))}
    for disclosure in disclosures:
        made = base64.urlsafe_b64encode(hashlib.sha256(disclosure.encode()).digest())
        salt, name, value = json.loads(b64(disclosure))
        assert len(b64(salt)) == 16
        place = "top" if made.decode().rstrip("=") in digests["top"] else "fields"
        digests[place].remove(made.decode().rstrip("="))
        target = claims if place == "top" else fields
        assert name not in target
        target[name] = value
    return claims, fields


async def get(svc: Running, path: str, headers: dict[str, str] | None = None) -> Any:
    answer = await svc.client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


async def test_the_credential_verifies_by_hand(
    svc: Running, ground: Ground, grant: Grantor
) -> None:
    licence: Licence = await grant(licence_type="LT-FOOD", years=5, fields=FIELDS)
    jwks = (await get(svc, "/v1/licences/jwks.json")).json()
    assert all("d" not in public for public in jwks["keys"])
    headers = ground.person(ZHANG.account_id)
    path = f"/v1/licences/{licence.id}/credential"
    whole = (await get(svc, path, headers)).json()
    assert whole["format"] == "dc+sd-jwt"
    claims, fields = unfold(whole["credential"], jwks)
    assert fields == {k: v for k, v in FIELDS.items() if k != "contact_phone"}
    assert (claims["holder_name"], claims["holder_number"]) == (ZHANG.name, ZHANG.number)
    assert claims["iss"] == "http://beam.test"
    assert claims["vct"] == "urn:cn:beam:licence:LT-FOOD"
    assert claims["number"] == licence.number
    assert claims["nbf"] == 1767542400  # 2026-01-05 in Beijing
    assert claims["exp"] == 1925308800  # the day after 2031-01-04 in Beijing


async def test_only_what_the_holder_wants_is_disclosed(
    svc: Running, ground: Ground, grant: Grantor
) -> None:
    licence: Licence = await grant(licence_type="LT-FOOD", fields=FIELDS)
    jwks = (await get(svc, "/v1/licences/jwks.json")).json()
    path = f"/v1/licences/{licence.id}/credential?disclose=premises_address"
    credential = (await get(svc, path, ground.person(ZHANG.account_id))).json()["credential"]
    claims, fields = unfold(credential, jwks)
    assert fields == {"area_m2": 60, "premises_address": "浦东新区某路1号"}
    assert not {"holder_name", "holder_number", "holder_kind"} & claims.keys()
    plain = "".join(b64(p).decode("utf-8", "replace") for p in credential.split("~")[0].split("."))
    assert ZHANG.number not in plain
    assert ZHANG.name not in plain
    assert "三丰面馆" not in plain


def test_a_field_cannot_take_the_place_of_a_claim() -> None:
    signer = _signer()
    claims = {"iss": "http://beam.test", "number": "1.2.156"}
    evil = {"iss": "http://evil.test", "number": "2"}
    made = credentials.issue(signer, claims, hidden={}, fields={}, hidden_fields=evil)
    top, fields = unfold(made, signer.jwks)
    assert top == claims
    assert fields == evil


def _signer() -> keys.Signer:
    key = SigningKey(SigningKey.generate())
    jwks = {"keys": [key.public_jwk]}
    return keys.Signer(key, KeySet(jwks), jwks, "http://beam.test")


async def test_a_changed_credential_does_not_verify(
    svc: Running, ground: Ground, grant: Grantor
) -> None:
    licence: Licence = await grant()
    jwks = (await get(svc, "/v1/licences/jwks.json")).json()
    path = f"/v1/licences/{licence.id}/credential"
    credential = (await get(svc, path, ground.person(ZHANG.account_id))).json()["credential"]
    head, body, rest = credential.split(".", 2)
    changed = body[:20] + ("A" if body[20] != "A" else "B") + body[21:]
    with pytest.raises(InvalidSignature):
        checked(f"{head}.{changed}.{rest.split('~')[0]}", jwks)
    token, first, *others = credential.split("~")
    forged = base64.urlsafe_b64encode(b'["c2FsdHNhbHRzYWx0c2FsdA", "holder_name", "x"]').decode()
    with pytest.raises(KeyError):
        unfold("~".join([token, forged.rstrip("="), *others]), jwks)
    assert credentials.name_of(first)


async def test_the_status_list_tells_what_is_not_good(
    svc: Running, ground: Ground, grant: Grantor
) -> None:
    good, suspended, revoked = [await grant() for _ in range(3)]
    await change(svc, ground, suspended, "suspend")
    await change(svc, ground, revoked, "revoke")
    jwks = (await get(svc, "/v1/licences/jwks.json")).json()
    answer = await get(svc, "/v1/status-lists/0")
    assert answer.headers["content-type"] == "application/statuslist+jwt"
    header, claims = checked(answer.text, jwks)
    assert header["typ"] == "statuslist+jwt"
    assert claims["sub"] == "http://beam.test/v1/status-lists/0"
    assert claims["status_list"]["bits"] == 2
    packed = zlib.decompress(b64(claims["status_list"]["lst"]))
    assert len(packed) * 4 == status_lists.SIZE

    async def status(licence: Licence) -> int:
        path = f"/v1/licences/{licence.id}/credential"
        told = (await get(svc, path, ground.person(ZHANG.account_id))).json()["credential"]
        place = checked(told.split("~")[0], jwks)[1]["status"]["status_list"]
        assert place["uri"] == claims["sub"]
        return int(packed[place["idx"] // 4] >> place["idx"] % 4 * 2 & 3)

    assert [await status(x) for x in (good, suspended, revoked)] == [0, 2, 1]


@pytest.mark.parametrize("n", ["1", "-1", "x", "99999999999999999999"])
async def test_no_other_status_list(svc: Running, n: str) -> None:
    answer = await svc.client.get(f"/v1/status-lists/{n}")
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_all_processes_share_the_key(svc: Running, ground: Ground) -> None:
    async with svc.runtime.sessions.begin() as session:
        again = await keys.load(session, svc.runtime.vault, "http://beam.test")
        assert await session.scalar(select(func.count()).select_from(IssuerKey)) == 1
    assert again.key.kid == svc.runtime.parts["signer"].key.kid
    with pytest.raises(SealBroken):
        async with svc.runtime.sessions.begin() as session:
            await keys.load(session, Vault(Vault.new_document()), "http://beam.test")
