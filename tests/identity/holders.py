"""Keys of clients: DPoP proofs and client assertions, made without our own code."""

import base64
import hashlib
import json
import secrets
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from joserfc import jwk

ISSUER = "http://beam.test"


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Holder:
    """Somebody with a key of their own."""

    def __init__(self) -> None:
        self.key = jwk.ECKey.generate_key("P-256", parameters={"use": "sig"})

    @property
    def public(self) -> dict[str, Any]:
        """The public key as it stands in a JWKS."""
        full = self.key.as_dict(private=False)
        return {**{name: full[name] for name in ("kty", "crv", "x", "y")}, "kid": self.jkt}

    @property
    def jkt(self) -> str:
        return str(self.key.thumbprint())

    def proof(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        header: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """A DPoP proof; a change of `...` leaves a claim out."""
        core = {name: self.public[name] for name in ("kty", "crv", "x", "y")}
        claims: dict[str, Any] = {
            "htm": method,
            "htu": ISSUER + path,
            "iat": int(time.time()),
            "jti": secrets.token_hex(8),
        }
        if token is not None:
            claims["ath"] = b64(hashlib.sha256(token.encode()).digest())
        claims = {name: v for name, v in {**claims, **changes}.items() if v is not ...}
        head = {"alg": "ES256", "typ": "dpop+jwt", "jwk": core, **(header or {})}
        return self.signed(head, claims)

    def signed(self, head: dict[str, Any], claims: dict[str, Any]) -> str:
        """Signed by hand: no library refuses an odd header for us."""
        text = ".".join(b64(json.dumps(part).encode()) for part in (head, claims))
        private = self.key.get_op_key("sign")
        r, s = utils.decode_dss_signature(private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def bearing(self, token: str, method: str, path: str, **changes: Any) -> dict[str, str]:
        """The headers of a request with a token that is bound to this key."""
        proof = self.proof(method, path, token=token, **changes)
        return {"authorization": f"DPoP {token}", "dpop": proof}

    def assertion(self, client_id: str, **changes: Any) -> dict[str, str]:
        """The form fields with which a client proves itself by private_key_jwt."""
        at = int(time.time())
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": ISSUER,
            "jti": secrets.token_hex(8),
            "iat": at,
            "exp": at + 60,
            **changes,
        }
        claims = {name: v for name, v in claims.items() if v is not ...}
        head = {"alg": "ES256", "kid": self.jkt}
        return {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": self.signed(head, claims),
        }
