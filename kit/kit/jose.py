"""The one place that touches python-jose: ES256 only, keys built once, everything else refused.

python-jose accepts more than is safe (unknown `crit`, any `typ`, mixed algorithms, a missing
`aud` or `exp`); this module lets none of it through and answers every defect with BadToken.
"""

import base64
import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jose import jwk, jws, jwt

ALGORITHM = "ES256"
MAX_BYTES = 8192
LEEWAY_SECONDS = 30
MAX_LIFE_SECONDS = 15 * 60
FORBIDDEN_HEADERS = frozenset({"crit", "jku", "x5u", "jwk", "x5c", "zip", "b64"})


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

    def sign(self, claims: Mapping[str, Any], typ: str) -> str:
        return str(
            jwt.encode(dict(claims), self._key, ALGORITHM, headers={"kid": self.kid, "typ": typ})
        )


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

    def verify(
        self,
        token: str,
        *,
        issuer: str,
        audience: str,
        typ: str = "at+jwt",
        max_life: int = MAX_LIFE_SECONDS,
    ) -> dict[str, Any]:
        """The claims of a token that is ours in every respect, or BadToken."""
        if len(token) > MAX_BYTES:
            raise BadToken("too long")
        try:
            header = jws.get_unverified_header(token)
            if header.get("alg") != ALGORITHM or str(header.get("typ", "")).lower() != typ:
                raise BadToken("alg or typ")
            if FORBIDDEN_HEADERS & header.keys():
                raise BadToken("forbidden header")
            key = self._keys.get(header.get("kid"))
            if key is None:
                raise UnknownKey("kid")
            needed = ("exp", "iat", "iss", "aud", "sub", "jti")
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=audience,
                issuer=issuer,
                options={
                    "leeway": LEEWAY_SECONDS,
                    "verify_at_hash": False,  # an id_token comes back without its access token
                    **{f"require_{n}": True for n in needed},
                },
            )
            if not isinstance(claims["exp"], int) or not isinstance(claims["iat"], int):
                raise BadToken("times must be whole seconds")
            if not 0 < claims["exp"] - claims["iat"] <= max_life:
                raise BadToken("lives too long, or not at all")
            if claims["iat"] > time.time() + LEEWAY_SECONDS:
                raise BadToken("issued in the future")
            for name in ("sub", "jti"):
                if not isinstance(claims[name], str) or not claims[name]:
                    raise BadToken(name)
        except BadToken:
            raise
        except Exception as exc:  # noqa: BLE001  python-jose leaks Overflow-, Recursion-, AttributeError
            raise BadToken(type(exc).__name__) from None
        return dict(claims)
