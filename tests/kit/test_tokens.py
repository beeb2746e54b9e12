"""Hostile tokens: every one is a 401, none a 500, none gets in.

They are made by hand or by joserfc, not by the module under test.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
import warnings
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from fastapi import FastAPI
from joserfc import jwk, jws
from joserfc import jwt as other_jwt
from joserfc.errors import SecurityWarning

from kit import auth, errors, telemetry
from kit.auth import Anyone, Caller, Keyring
from kit.errors import Unauthenticated
from kit.jose import BadToken, KeySet, SigningKey

ISSUER = "http://beam.test"
PEM = SigningKey.generate()
KEY = SigningKey(PEM)
PRIVATE = serialization.load_pem_private_key(PEM, None)
STRANGER = SigningKey(SigningKey.generate())


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    full = {
        "iss": ISSUER,
        "aud": "beam",
        "sub": "acc_1",
        "jti": "t1",
        "iat": now,
        "exp": now + 600,
        "kind": "person",
        "acr": "L2",
        "roles": [],
        "client_id": "demo-app",
        **changes,
    }
    return {name: value for name, value in full.items() if value is not ...}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign_raw(signing_input: bytes) -> bytes:
    assert isinstance(PRIVATE, ec.EllipticCurvePrivateKey)
    r, s = utils.decode_dss_signature(PRIVATE.sign(signing_input, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def made(payload: Any = None, *, kid: Any = KEY.kid, typ: Any = "at+jwt", **header: Any) -> str:
    """A token with a right signature over whatever header and payload."""
    head = {"alg": "ES256", "kid": kid, "typ": typ, **header}
    head = {name: value for name, value in head.items() if value is not ...}
    body = payload if isinstance(payload, bytes) else json.dumps(payload or claims()).encode()
    signing_input = f"{b64(json.dumps(head).encode())}.{b64(body)}"
    return f"{signing_input}.{b64(sign_raw(signing_input.encode()))}"


def unsigned(alg: str) -> str:
    head = {"alg": alg, "kid": KEY.kid, "typ": "at+jwt"}
    return f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims()).encode())}."


def hmac_with_public_key() -> str:
    assert isinstance(PRIVATE, ec.EllipticCurvePrivateKey)
    public = PRIVATE.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = {"alg": "HS256", "kid": KEY.kid, "typ": "at+jwt"}
    text = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims()).encode())}"
    return f"{text}.{b64(hmac.digest(public, text.encode(), hashlib.sha256))}"


def der_signature() -> str:
    text, _, _ = made().rpartition(".")
    assert isinstance(PRIVATE, ec.EllipticCurvePrivateKey)
    return f"{text}.{b64(PRIVATE.sign(text.encode(), ec.ECDSA(hashes.SHA256())))}"


def other_algorithm(alg: str) -> str:
    if alg == "EdDSA":
        pem: Any = ed25519.Ed25519PrivateKey.generate()
    elif alg == "ES384":
        pem = ec.generate_private_key(ec.SECP384R1())
    else:
        pem = rsa.generate_private_key(65537, 2048)
    raw = pem.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    kind: Any = {"EdDSA": "OKP", "ES384": "EC"}.get(alg, "RSA")
    header = {"alg": alg, "kid": KEY.kid, "typ": "at+jwt"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return other_jwt.encode(header, claims(), jwk.import_key(raw, kind), [alg])


def with_own_key_in_header() -> str:
    mine = SigningKey.generate()
    header = {"alg": "ES256", "kid": KEY.kid, "typ": "at+jwt", "jwk": SigningKey(mine).public_jwk}
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    return other_jwt.encode(header, claims(), jwk.import_key(mine, "EC"), registry=registry)


def duplicate_alg() -> str:
    head = b'{"alg":"none","kid":"%s","typ":"at+jwt","alg":"HS256"}' % KEY.kid.encode()
    return f"{b64(head)}.{b64(json.dumps(claims()).encode())}.{b64(b'x' * 64)}"


def changed_payload() -> str:
    head, _, signature = made().split(".")
    return f"{head}.{b64(json.dumps(claims(sub='acc_2')).encode())}.{signature}"


NOW = int(time.time())
HOSTILE: dict[str, Callable[[], str]] = {
    "no algorithm": lambda: unsigned("none"),
    "no algorithm, odd case": lambda: unsigned("nOnE"),
    "no algorithm named": lambda: made(alg=...),
    "HS256 with the public key": hmac_with_public_key,
    "RS256": lambda: other_algorithm("RS256"),
    "PS256": lambda: other_algorithm("PS256"),
    "ES384": lambda: other_algorithm("ES384"),
    "EdDSA": lambda: other_algorithm("EdDSA"),
    "two algorithms": duplicate_alg,
    "algorithm is a list": lambda: made(alg=["ES256"]),
    "signed by a stranger under our kid": lambda: other_jwt.encode(
        {"alg": "ES256", "kid": KEY.kid, "typ": "at+jwt"},
        claims(),
        jwk.import_key(SigningKey.generate(), "EC"),
    ),
    "unknown kid": lambda: STRANGER.sign(claims(), "at+jwt"),
    "no kid": lambda: made(kid=...),
    "kid is a number": lambda: made(kid=7),
    "kid is a list": lambda: made(kid=[KEY.kid]),
    "kid is a path": lambda: made(kid="../../../../dev/null"),
    "id_token": lambda: KEY.sign(claims(), "JWT"),
    "no typ": lambda: made(typ=...),
    "typ is an object": lambda: made(typ={"a": 1}),
    "key in the header": with_own_key_in_header,
    "jku": lambda: made(jku="https://evil.example/keys"),
    "x5u": lambda: made(x5u="https://evil.example/cert"),
    "x5c": lambda: made(x5c=["MIIB"]),
    "unknown crit": lambda: made(crit=["exp"], exp=1),
    "empty crit": lambda: made(crit=[]),
    "b64 false": lambda: made(b64=False),
    "zip": lambda: made(zip="DEF"),
    "changed payload": changed_payload,
    "signature of zeros": lambda: made().rpartition(".")[0] + "." + b64(bytes(64)),
    "signature missing": lambda: made().rpartition(".")[0] + ".",
    "signature cut": lambda: made()[:-8],
    "signature longer": lambda: made() + "AAAA",
    "signature as DER": der_signature,
    "expired": lambda: made(claims(iat=NOW - 1000, exp=NOW - 400)),
    "not yet": lambda: made(claims(nbf=NOW + 600)),
    "issued in the future": lambda: made(claims(iat=NOW + 600, exp=NOW + 900)),
    "lives too long": lambda: made(claims(exp=NOW + 86400)),
    "ends before it begins": lambda: made(claims(iat=NOW + 300, exp=NOW + 200)),
    "other issuer": lambda: made(claims(iss="http://evil.example")),
    "list of issuers": lambda: made(claims(iss=[ISSUER, "http://evil.example"])),
    "other audience": lambda: made(claims(aud="demo-app")),
    "empty audience": lambda: made(claims(aud=[])),
    **{
        f"no {name}": lambda name=name: made(claims(**{name: ...}))  # type: ignore[misc]
        for name in ("exp", "iat", "iss", "aud", "sub", "jti")
    },
    "exp is text": lambda: made(claims(exp=str(NOW + 600))),
    "exp is a fraction": lambda: made(claims(exp=NOW + 600.5)),
    "exp is true": lambda: made(claims(exp=True)),
    "exp is huge": lambda: made(claims(exp=10**400)),
    "exp is infinite": lambda: made(
        json.dumps(claims()).replace(str(claims()["exp"]), "Infinity").encode()
    ),
    "sub is null": lambda: made(claims(sub=None)),
    "sub is a list": lambda: made(claims(sub=["acc_1"])),
    "sub is empty": lambda: made(claims(sub="")),
    "jti is a number": lambda: made(claims(jti=7)),
    "roles is text": lambda: made(claims(roles="operator")),
    "roles is a number": lambda: made(claims(roles=7)),
    "roles holds objects": lambda: made(claims(roles=[{"a": 1}])),
    "acr is unknown": lambda: made(claims(acr="L9")),
    "acr is a number": lambda: made(claims(acr=4)),
    "kind is an object": lambda: made(claims(kind={"a": 1})),
    "scope is a list": lambda: made(claims(scope=["internal"])),
    "act is text": lambda: made(claims(act="acc_2")),
    "dept is a list": lambda: made(claims(dept=["SAMR"])),
    "payload is a list": lambda: made(b"[1,2]"),
    "payload is text": lambda: made(b'"text"'),
    "payload is not JSON": lambda: made(b"\xff\xfe"),
    "payload is deep": lambda: made(b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}"),
    "header is deep": lambda: b64(b"[" * 3000 + b"]" * 3000) + ".e30.AAAA",
    "header is a list": lambda: b64(b"[]") + ".e30.AAAA",
    "header is not base64": lambda: "###.e30.AAAA",
    "too long": lambda: made(claims(padding="x" * 9000)),
    "empty parts": lambda: "..",
    "one part": lambda: "token",
    "four parts": lambda: made() + ".AAAA",
    "five parts, like a JWE": lambda: "a.b.c.d.e",
    "JSON serialization": lambda: json.dumps({"payload": "e30", "signatures": []}),
    "not ASCII": lambda: made()[:-1] + "é",
    "a space inside": lambda: made().replace(".", ". ", 1),
    "a null inside": lambda: made().replace(".", ".\x00", 1),
}


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[httpx.AsyncClient]:
    """The kit's door in front of one route, with nothing behind it."""
    app = FastAPI()
    app.add_middleware(telemetry.RequestTelemetry, service="test")
    errors.install(app)

    async def jwks() -> dict[str, Any]:
        return {"keys": [KEY.public_jwk]}

    app.state.runtime = SimpleNamespace(keyring=Keyring(ISSUER, jwks))

    @app.get("/who")
    async def who(caller: Anyone) -> dict[str, str]:
        return {"sub": caller.subject}

    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_a_good_token_gets_in(service: httpx.AsyncClient) -> None:
    for token in (made(), KEY.sign(claims(), "at+jwt"), made(claims(aud=["other", "beam"]))):
        answer = await service.get("/who", headers={"authorization": f"Bearer {token}"})
        assert answer.json() == {"sub": "acc_1"}, answer.text


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_token_does_not(service: httpx.AsyncClient, name: str) -> None:
    token = HOSTILE[name]()
    header = f"Bearer {token}".encode("latin-1")
    answer = await service.get("/who", headers=[(b"authorization", header)])
    assert answer.status_code == 401, (name, answer.text)
    assert answer.json()["code"] == "unauthenticated"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert token not in answer.text


@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [b"Bearer"],
        [b"Bearer "],
        [b"Basic " + base64.b64encode(b"a:b")],
        [b"Bearer " + made().encode(), b"Bearer " + made().encode()],
        [b"\xff\xfe"],
        [b"Bearer\t" + made().encode()],
    ],
)
async def test_odd_headers(service: httpx.AsyncClient, values: list[bytes]) -> None:
    answer = await service.get("/who", headers=[(b"authorization", v) for v in values])
    assert answer.status_code == 401


async def test_no_header(service: httpx.AsyncClient) -> None:
    answer = await service.get("/who")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_remembered_token_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def jwks() -> dict[str, Any]:
        return {"keys": [KEY.public_jwk]}

    ring = Keyring(ISSUER, jwks)
    token = made()
    assert isinstance(await ring.verify(token), Caller)
    later = time.time() + 700
    monkeypatch.setattr(time, "time", lambda: later)
    assert ring.verify_cached(token) is None


async def test_the_first_callers_of_a_fresh_process_wait_for_one_fetch() -> None:
    fetches, may_answer = 0, asyncio.Event()

    async def jwks() -> dict[str, Any]:
        nonlocal fetches
        fetches += 1
        await may_answer.wait()
        return {"keys": [KEY.public_jwk]}

    ring = Keyring(ISSUER, jwks)
    callers = [asyncio.create_task(ring.verify(made(claims(sub=f"acc_{n}")))) for n in range(5)]
    await asyncio.sleep(0.01)
    may_answer.set()
    assert [caller.subject for caller in await asyncio.gather(*callers)] == [
        f"acc_{n}" for n in range(5)
    ]
    assert fetches == 1


async def test_the_first_keys_are_there_before_the_first_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auth, "WARM_SECONDS", (0.0, 0.0))
    answers = [OSError("not there yet"), {"keys": []}, {"keys": [KEY.public_jwk]}]
    fetched = 0

    async def jwks() -> dict[str, Any]:
        nonlocal fetched
        fetched += 1
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    ring = Keyring(ISSUER, jwks)
    await ring.warm()
    assert fetched == 3
    assert (await ring.verify(made())).subject
    assert fetched == 3


async def test_a_new_key_is_fetched_and_a_flood_of_unknown_ones_is_not() -> None:
    published = [KEY.public_jwk]
    fetched = 0

    async def jwks() -> dict[str, Any]:
        nonlocal fetched
        fetched += 1
        return {"keys": published}

    ring = Keyring(ISSUER, jwks)
    await ring.verify(made())
    for _ in range(50):
        with pytest.raises(Unauthenticated):
            await ring.verify(STRANGER.sign(claims(), "at+jwt"))
    assert fetched <= 2


@pytest.mark.parametrize(
    "key",
    [
        {},
        {"kty": "oct", "k": "AAAA", "kid": "a"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "a"},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "kid": "a"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    ],
)
def test_keys_that_are_not_ours_are_left_out(key: dict[str, str]) -> None:
    assert len(KeySet({"keys": [key, KEY.public_jwk]})) == 1


def test_the_other_library_reads_what_we_sign() -> None:
    token = KEY.sign(claims(), "at+jwt")
    known = jwk.KeySet.import_key_set({"keys": [KEY.public_jwk]})
    read = other_jwt.decode(token, known, algorithms=["ES256"])
    assert read.claims["sub"] == "acc_1"
    assert read.header["kid"] == KEY.kid
    with pytest.raises(BadToken):
        KeySet({"keys": [STRANGER.public_jwk]}).verify(token, issuer=ISSUER, audience="beam")
