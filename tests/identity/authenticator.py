"""A software authenticator (WebAuthn): keys, flags and counters as a device has them, written
without the library that the service uses."""

import base64
import hashlib
import json
import os
import struct
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

UP, UV, BE, BS, AT = 1, 4, 8, 16, 64


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _cbor(value: Any) -> bytes:
    """What of CBOR an attestation object needs."""

    def head(major: int, n: int) -> bytes:
        if n < 24:
            return bytes([major << 5 | n])
        if n < 256:
            return bytes([major << 5 | 24, n])
        return bytes([major << 5 | 25]) + struct.pack(">H", n)

    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    pairs = b"".join(_cbor(k) + _cbor(v) for k, v in value.items())
    return head(5, len(value)) + pairs


@dataclass
class Authenticator:
    """One device with one passkey."""

    origin: str
    rp_id: str
    counter: int = 0
    step: int = 1
    """0: it counts nothing, as synchronised passkeys do."""
    flags: int = UP | UV | BE | BS
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))
    handle: bytes = b""

    def _client_data(self, kind: str, challenge: str, origin: str | None) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": origin or self.origin}
        return json.dumps({**said, "crossOrigin": False}).encode()

    def _data(self, flags: int, rp_id: str | None, more: bytes = b"") -> bytes:
        self.counter += self.step
        digest = hashlib.sha256((rp_id or self.rp_id).encode()).digest()
        return digest + bytes([flags]) + struct.pack(">I", self.counter) + more

    def create(
        self,
        options: dict[str, Any],
        *,
        origin: str | None = None,
        rp_id: str | None = None,
        flags: int | None = None,
        kind: str = "webauthn.create",
        algorithm: int = -7,
    ) -> dict[str, Any]:
        """The answer to `navigator.credentials.create`, with attestation none."""
        assert options["authenticatorSelection"]["userVerification"] == "required"
        self.handle = unb64(options["user"]["id"])
        point = self.key.public_key().public_numbers()
        x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
        cose = _cbor({1: 2, 3: algorithm, -1: 1, -2: x, -3: y})
        length = struct.pack(">H", len(self.credential_id))
        attested = bytes(16) + length + self.credential_id + cose
        data = self._data((self.flags if flags is None else flags) | AT, rp_id, attested)
        client = self._client_data(kind, options["challenge"], origin)
        attestation = _cbor({"fmt": "none", "attStmt": {}, "authData": data})
        return self._credential(
            {"clientDataJSON": b64(client), "attestationObject": b64(attestation)}
        )

    def get(
        self,
        challenge: str,
        *,
        origin: str | None = None,
        rp_id: str | None = None,
        flags: int | None = None,
        handle: bytes | None = None,
        kind: str = "webauthn.get",
    ) -> dict[str, Any]:
        """The answer to `navigator.credentials.get`."""
        data = self._data(self.flags if flags is None else flags, rp_id)
        client = self._client_data(kind, challenge, origin)
        signed = data + hashlib.sha256(client).digest()
        return self._credential(
            {
                "clientDataJSON": b64(client),
                "authenticatorData": b64(data),
                "signature": b64(self.key.sign(signed, ec.ECDSA(hashes.SHA256()))),
                "userHandle": b64(self.handle if handle is None else handle),
            }
        )

    def _credential(self, response: dict[str, str]) -> dict[str, Any]:
        name = b64(self.credential_id)
        return {
            "id": name,
            "rawId": name,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }
