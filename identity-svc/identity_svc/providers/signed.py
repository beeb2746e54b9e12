"""Questions to a register over HTTP, each signed with a shared secret.

Our own contract, since the true interfaces are not public: an adapter for one of them takes the
place of the register's file.
"""

import hashlib
import hmac
import json
import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from kit.http import open_client

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """Who we are at a register."""

    app_id: str
    secret: str

    @classmethod
    def load(cls, folder: Path) -> "Account":
        """Read `account.json` with these two fields."""
        return cls(**json.loads((folder / "account.json").read_text("utf-8")))


class Register:
    """One register at an address; `name` is for the log."""

    def __init__(self, name: str, base_url: str, account: Account) -> None:
        self._name, self._account = name, account
        self._client = open_client(base_url)

    async def ask(self, path: str, **question: str) -> dict[str, Any] | None:
        """The JSON object that it answers with; None whatever goes wrong on the way."""
        body = json.dumps(question, ensure_ascii=False).encode()
        stamp, nonce = str(int(time.time())), secrets.token_hex(16)
        text = f"{stamp}\n{nonce}\n{hashlib.sha256(body).hexdigest()}"
        signature = hmac.new(self._account.secret.encode(), text.encode(), hashlib.sha256)
        headers = {
            "content-type": "application/json",
            "x-app-id": self._account.app_id,
            "x-timestamp": stamp,
            "x-nonce": nonce,
            "x-signature": signature.hexdigest(),
        }
        try:
            answer = await self._client.post(path, content=body, headers=headers)
            answer.raise_for_status()
            said = answer.json()
        except (httpx.HTTPError, ValueError) as exc:
            log.warning("the register of %s gave no answer: %s", self._name, type(exc).__name__)
            return None
        return said if isinstance(said, dict) else None

    async def close(self) -> None:
        await self._client.aclose()
