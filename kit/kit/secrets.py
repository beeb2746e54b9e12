"""Personal data at rest: sealed with AES-256-GCM, found by a keyed hash, shown masked.

The key file is JSON: {"current": "k1", "keys": {"k1": "<base64, 32 bytes>"}, "index": "<base64>"}.
A ciphertext starts with its key's id, so keys can be rotated; the associated data binds it to its
table, column and row, so a ciphertext copied elsewhere does not open.
"""

import base64
import hmac
import json
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.ext.asyncio import AsyncSession

NONCE = 12


class SealBroken(Exception):
    """The ciphertext was changed, moved, or its key is gone."""


class Vault:
    def __init__(self, document: dict[str, object]) -> None:
        keys, self._current = document["keys"], str(document["current"])
        assert isinstance(keys, dict)
        self._keys = {str(k): AESGCM(base64.b64decode(v)) for k, v in keys.items()}
        self._index = base64.b64decode(str(document["index"]))

    @classmethod
    def from_file(cls, path: Path) -> "Vault":
        return cls(json.loads(path.read_text()))

    @staticmethod
    def new_document() -> dict[str, object]:
        def random() -> str:
            return base64.b64encode(secrets.token_bytes(32)).decode()

        return {"current": "k1", "keys": {"k1": random()}, "index": random()}

    def seal(self, text: str, *, bound_to: str) -> bytes:
        """Ciphertext of `text`. `bound_to` reads `table|column|row id`."""
        return self.seal_bytes(text.encode(), bound_to=bound_to)

    def seal_bytes(self, content: bytes, *, bound_to: str) -> bytes:
        nonce = os.urandom(NONCE)
        sealed = self._keys[self._current].encrypt(nonce, content, bound_to.encode())
        return self._current.encode() + b":" + nonce + sealed

    def open(self, sealed: bytes, *, bound_to: str) -> str:
        """The text again. Raises SealBroken."""
        return self.open_bytes(sealed, bound_to=bound_to).decode()

    def open_bytes(self, sealed: bytes, *, bound_to: str) -> bytes:
        key_id, _, rest = sealed.partition(b":")
        key = self._keys.get(key_id.decode("ascii", "replace"))
        if key is None:
            raise SealBroken("unknown key")
        try:
            return key.decrypt(rest[:NONCE], rest[NONCE:], bound_to.encode())
        except InvalidTag:
            raise SealBroken("does not open") from None

    def index(self, text: str) -> str:
        """A keyed hash by which an exact value can be found, and nothing else learnt."""
        return hmac.digest(self._index, text.strip().upper().encode(), "sha256").hex()

    def secret_for(self, purpose: str) -> bytes:
        """64 secret bytes for one purpose, the same as long as this vault is kept."""
        return hmac.digest(self._index, f"secret for {purpose}".encode(), "sha512")


def vault_of(session: AsyncSession) -> Vault:
    """The service's own vault, for handlers of events that keep something personal."""
    vault: Vault = session.info["vault"]
    return vault


def mask_name(name: str) -> str:
    """张三 → 张*; 欧阳娜娜 → 欧***; the length stays, the rest goes."""
    return name[:1] + "*" * max(len(name) - 1, 1)


def mask_id_number(number: str) -> str:
    """310***********1234"""
    return number[:3] + "*" * max(len(number) - 7, 1) + number[-4:]


def mask_phone(phone: str) -> str:
    """138****5678"""
    return phone[:3] + "*" * max(len(phone) - 7, 1) + phone[-4:]
