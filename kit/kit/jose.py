"""The one place that touches python-jose: ES256 only, keys built once, everything else refused.

python-jose accepts more than is safe (unknown `crit`, any `typ`, mixed algorithms, a missing
`aud` or `exp`); this module lets none of it through and answers every defect with BadToken.
"""

import base64
import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jose import jwk, jws, jwt

ALGORITHM = "ES256"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of curve P-256 (FIPS 186-5, SP 800-186 §3.2.1.3)."""
MAX_BYTES = 8192
LEEWAY_SECONDS = 30
MAX_LIFE_SECONDS = 15 * 60
FORBIDDEN_HEADERS = frozenset({"crit", "jku", "x5u", "jwk", "x5c", "zip", "b64"})
NEEDED = ("exp", "iat", "iss", "sub", "jti")
MAX_FOREIGN_LIFE = 24 * 3600
MOST_FOREIGN, SHORTEST_MODULUS = 20, 342
"""Keys of another issuer; characters of base64 in 2048 bits."""
ASSERTION_TYPES = ("", "jwt", "client-authentication+jwt")


class BadToken(Exception):
    """The token is not one of ours; the reason is for logs, not for the client."""


class UnknownKey(BadToken):
    """The token names a key that is not in the set; the set may be out of date."""


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def thumbprint(public: Mapping[str, Any]) -> str:
    """RFC 7638 thumbprint of an EC public key: our `kid`."""
    core = {name: public[name] for name in ("crv", "kty", "x", "y")}
    return _b64(hashlib.sha256(json.dumps(core, separators=(",", ":")).encode()).digest())


class SigningKey:
    """A private P-256 key that signs, and its public half for the JWKS."""

    def __init__(self, pem: bytes) -> None:
        private = serialization.load_pem_private_key(pem, None)
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise ValueError("a signing key must be a P-256 private key in PEM")
        numbers = private.public_key().public_numbers()
        public = {
            "kty": "EC",
            "crv": "P-256",
            "x": _b64(numbers.x.to_bytes(32, "big")),
            "y": _b64(numbers.y.to_bytes(32, "big")),
        }
        self.kid = thumbprint(public)
        self.public_jwk = {**public, "kid": self.kid, "use": "sig", "alg": ALGORITHM}
        self._key = jwk.construct(pem.decode(), ALGORITHM)

    @staticmethod
    def generate() -> bytes:
        """A new key as PEM (PKCS 8)."""
        return ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @classmethod
    def derived(cls, secret: bytes) -> "SigningKey":
        """The key that follows from 64 secret bytes, the same every time (FIPS 186-5 A.2.1)."""
        curve = ec.SECP256R1()
        number = int.from_bytes(secret, "big") % (P256_ORDER - 1) + 1
        return cls(
            ec.derive_private_key(number, curve).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def sign(self, claims: Mapping[str, Any], typ: str) -> str:
        return str(
            jwt.encode(dict(claims), self._key, ALGORITHM, headers={"kid": self.kid, "typ": typ})
        )

    def signed(self, token: str, typ: str) -> dict[str, Any]:
        """The claims of a statement that this key signed, which is good for ever; or BadToken."""
        header = _header(token, (typ,), FORBIDDEN_HEADERS)
        with _refusing():
            if header.get("kid") != self.kid:
                raise UnknownKey("kid")
            claims = json.loads(jws.verify(token, self._key.public_key(), [ALGORITHM]))
            if not isinstance(claims, dict):
                raise BadToken("payload")
            return claims


class KeySet:
    """Public keys by `kid`, each built once."""

    def __init__(self, jwks: Mapping[str, Any]) -> None:
        self._keys = {}
        for key in jwks.get("keys", []):
            if key.get("kty") == "EC" and key.get("crv") == "P-256" and "kid" in key:
                public = {name: key[name] for name in ("kty", "crv", "x", "y")}
                self._keys[key["kid"]] = jwk.construct(public, ALGORITHM)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, kid: str) -> bool:
        return kid in self._keys

    def drop(self, kids: Iterable[str]) -> None:
        """Believe these keys no more."""
        for kid in kids:
            self._keys.pop(kid, None)

    def verify(
        self,
        token: str,
        *,
        issuer: str,
        audience: str | tuple[str, ...],
        typ: str = "at+jwt",
        max_life: int = MAX_LIFE_SECONDS,
    ) -> dict[str, Any]:
        """The claims of a token that is ours in every respect, or BadToken. Of several audiences
        the token must be for one at least."""
        header = _header(token, (typ,), FORBIDDEN_HEADERS)
        with _refusing():
            key = self._keys.get(header.get("kid"))
            if key is None:
                raise UnknownKey("kid")
            return _claims(token, key, issuer=issuer, audience=audience, max_life=max_life)

    def verify_assertion(self, token: str, *, client_id: str, audience: str) -> dict[str, Any]:
        """The claims of an assertion with which a client proves itself (RFC 7523), or BadToken.
        `aud` must be that one text and no list: an assertion for somebody else is of no use here.
        """
        header = _header(token, ASSERTION_TYPES, FORBIDDEN_HEADERS)
        with _refusing():
            kid = header.get("kid")
            key = self._keys.get(kid)
            if kid is None and len(self._keys) == 1:
                key = next(iter(self._keys.values()))
            if key is None:
                raise UnknownKey("kid")
            claims = _claims(
                token, key, issuer=client_id, audience=audience, max_life=MAX_LIFE_SECONDS
            )
            if claims["sub"] != client_id or claims["aud"] != audience:
                raise BadToken("sub or aud")
            return claims


class ForeignKeys:
    """Public keys of another issuer by `kid`: P-256 for ES256, RSA of 2048 bits or more for RS256.
    Each key is good for its own algorithm alone, whatever a token says."""

    def __init__(self, jwks: Mapping[str, Any]) -> None:
        self._keys: dict[str, tuple[str, Any]] = {}
        listed = jwks.get("keys", [])
        for key in listed[:MOST_FOREIGN] if isinstance(listed, list) else []:
            with contextlib.suppress(BadToken), _refusing():
                kind = (key["kty"], key.get("crv"))
                alg = {("EC", "P-256"): "ES256", ("RSA", None): "RS256"}[kind]
                names = ("crv", "x", "y") if alg == "ES256" else ("n", "e")
                short = alg == "RS256" and len(key["n"]) < SHORTEST_MODULUS
                if short or key.get("use", "sig") != "sig" or key.get("alg", alg) != alg:
                    raise BadToken("a key that we do not use")
                public = {"kty": key["kty"], **{name: key[name] for name in names}}
                self._keys[key["kid"]] = (alg, jwk.construct(public, alg))

    def verify(self, token: str, *, issuer: str, client_id: str, nonce: str) -> dict[str, Any]:
        """The claims of an id_token for us (OpenID Connect Core §3.1.3.7), or BadToken."""
        with _refusing():
            header = jws.get_unverified_header(token)
            if len(token) > MAX_BYTES or FORBIDDEN_HEADERS & header.keys():
                raise BadToken("header")
            if str(header.get("typ", "jwt")).lower() != "jwt":
                raise BadToken("typ")
            kid = header.get("kid")
            if kid not in self._keys:
                raise UnknownKey("kid")
            alg, key = self._keys[kid]
            if header.get("alg") != alg:
                raise BadToken("alg")
            told = {"issuer": issuer, "audience": client_id, "algorithm": alg}
            claims = _claims(token, key, **told, max_life=MAX_FOREIGN_LIFE, needed=NEEDED[:-1])
            if len(texts(claims["aud"])) > 1 and "azp" not in claims:
                raise BadToken("azp")
            if claims.get("azp", client_id) != client_id or claims.get("nonce") != nonce:
                raise BadToken("azp or nonce")
            return claims


def claimed_subject(token: str) -> str:
    """Whom a token says it is about, before anything of it was checked: to find the key that it
    must be checked with. Raises BadToken."""
    with _refusing():
        if len(token) > MAX_BYTES:
            raise BadToken("size")
        # nosemgrep: token-not-verified -- only to find the key; nothing is believed
        subject = jwt.get_unverified_claims(token).get("sub")
        if not isinstance(subject, str):
            raise BadToken("sub")
        return subject


def named_key(token: str) -> str | None:
    """The `kid` that a token names, before anything of it was checked. Raises BadToken."""
    with _refusing():
        kid = jws.get_unverified_header(token).get("kid")
        if len(token) > MAX_BYTES or not isinstance(kid, str | None):
            raise BadToken("kid")
        return kid


def read_proof(token: str) -> tuple[str, dict[str, Any]]:
    """Thumbprint of the key and claims of a DPoP proof (RFC 9449) whose signature holds, or
    BadToken. What the claims must say is for the caller to check."""
    header = _header(token, ("dpop+jwt",), FORBIDDEN_HEADERS - {"jwk"})
    with _refusing():
        public = header["jwk"]
        if not isinstance(public, dict) or "d" in public or "k" in public:
            raise BadToken("jwk")
        if public.get("kty") != "EC" or public.get("crv") != "P-256":
            raise BadToken("jwk")
        core = {name: public[name] for name in ("kty", "crv", "x", "y")}
        key = jwk.construct(core, ALGORITHM)
        claims = json.loads(jws.verify(token, key, [ALGORITHM]))
        if not isinstance(claims, dict):
            raise BadToken("payload")
        return thumbprint(core), claims


def texts(value: Any) -> tuple[str, ...]:
    """One text or a list of them as a tuple; anything else is a BadToken."""
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        raise BadToken("not a text")
    return tuple(values)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Every defect is a BadToken, whatever python-jose makes of it."""
    try:
        yield
    except BadToken:
        raise
    except Exception as exc:  # noqa: BLE001  python-jose leaks Overflow-, Recursion-, AttributeError
        raise BadToken(type(exc).__name__) from None


def _header(token: str, types: tuple[str, ...], forbidden: frozenset[str]) -> dict[str, Any]:
    if len(token) > MAX_BYTES:
        raise BadToken("too long")
    with _refusing():
        header: dict[str, Any] = jws.get_unverified_header(token)
        if header.get("alg") != ALGORITHM or str(header.get("typ", "")).lower() not in types:
            raise BadToken("alg or typ")
        if forbidden & header.keys():
            raise BadToken("forbidden header")
        return header


def _claims(
    token: str,
    key: Any,
    *,
    issuer: str,
    audience: str | tuple[str, ...],
    max_life: int,
    algorithm: str = ALGORITHM,
    needed: tuple[str, ...] = NEEDED,
) -> dict[str, Any]:
    claims = jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        issuer=issuer,
        options={
            "leeway": LEEWAY_SECONDS,
            "verify_aud": False,  # python-jose knows one audience only, and none is fine with it
            "verify_at_hash": False,  # an id_token comes back without its access token
            **{f"require_{name}": True for name in needed},
        },
    )
    if not set(texts(claims["aud"])) & set(texts(audience)):
        raise BadToken("aud")
    if not isinstance(claims["exp"], int) or not isinstance(claims["iat"], int):
        raise BadToken("times must be whole seconds")
    if not 0 < claims["exp"] - claims["iat"] <= max_life:
        raise BadToken("lives too long, or not at all")
    if claims["iat"] > time.time() + LEEWAY_SECONDS:
        raise BadToken("issued in the future")
    for name in ("sub", "jti"):
        if name in needed and (not isinstance(claims[name], str) or not claims[name]):
            raise BadToken(name)
    return dict(claims)
