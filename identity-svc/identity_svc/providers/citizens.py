"""The register of citizens over HTTP, each question signed with a shared secret.

Our own contract, since the true interfaces are not public: an adapter for one of them takes this
file's place.
"""

import hashlib
import hmac
import json
import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from kit.http import open_client

from . import Verdict

log = logging.getLogger(__name__)
NAME = "citizens"


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """Who we are at the register."""

    app_id: str
    secret: str

    @classmethod
    def load(cls, folder: Path) -> "Account":
        """Read `account.json` with these two fields."""
        return cls(**json.loads((folder / "account.json").read_text("utf-8")))


class Citizens:
    """The RealNames of this house over the register."""

    def __init__(self, base_url: str, account: Account) -> None:
        self._account = account
        self._client = open_client(base_url)

    async def verify(self, name: str, id_number: str) -> Verdict:
        body = json.dumps({"name": name, "id_number": id_number}, ensure_ascii=False).encode()
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
            answer = await self._client.post("/identity/v1/verify", content=body, headers=headers)
            answer.raise_for_status()
            said = answer.json()
            result, trace = said["result"], said.get("trace_id")
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as exc:
            log.warning("the register of citizens gave no answer: %s", type(exc).__name__)
            return Verdict("unavailable", NAME)
        if result not in ("match", "mismatch", "not_found"):
            return Verdict("unavailable", NAME, str(trace)[:64])
        return Verdict(result, NAME, str(trace)[:64])

    async def close(self) -> None:
        await self._client.aclose()
