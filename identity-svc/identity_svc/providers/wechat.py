"""WeChat's server calls for a mini-program: jscode2session, stable_token, getuserphonenumber.

The session key that comes with the user is dropped at once: nothing here needs it.
"""

import asyncio
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from kit.http import open_client

from . import CodeRefused, NoAnswer

log = logging.getLogger(__name__)
REFUSED = (40029, 40163, 40226)
"""Unknown or old, used, blocked. Anything else is our trouble or WeChat's, not the person's."""
STALE_TOKEN = (40001, 40014, 42001)
EARLY_SECONDS = 120


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """The mini-program at WeChat."""

    appid: str
    secret: str

    @classmethod
    def load(cls, folder: Path) -> "Account":
        """Read `account.json` with these two fields."""
        return cls(**json.loads((folder / "account.json").read_text("utf-8")))


class WeChat:
    """The MiniProgram of this house over WeChat."""

    def __init__(self, base_url: str, account: Account) -> None:
        self._account = account
        self._client = open_client(base_url, peer="wechat-mini")
        self._token, self._until = "", 0.0
        self._turn = asyncio.Lock()

    async def user(self, code: str) -> str:
        said = await self._ask(
            "GET",
            "/sns/jscode2session",
            {
                "appid": self._account.appid,
                "secret": self._account.secret,
                "js_code": code,
                "grant_type": "authorization_code",
            },
        )
        openid = said.get("openid")
        if not isinstance(openid, str) or not openid:
            raise NoAnswer
        return f"{self._account.appid}/{openid}"

    async def phone(self, code: str) -> str:
        said = await self._with_token(code)
        about = said.get("phone_info")
        if not isinstance(about, dict) or about.get("countryCode") != "86":
            raise CodeRefused
        return str(about.get("purePhoneNumber", ""))

    async def _with_token(self, code: str) -> dict[str, Any]:
        for last in (False, True):
            token = await self._access_token()
            try:
                path = "/wxa/business/getuserphonenumber"
                return await self._ask("POST", path, {"access_token": token}, {"code": code})
            except _StaleToken:
                if self._token == token:
                    self._token = ""
                if last:
                    raise NoAnswer from None
        raise AssertionError("not reached")

    async def _access_token(self) -> str:
        async with self._turn:
            if not self._token or time.monotonic() > self._until:
                body = {
                    "grant_type": "client_credential",
                    "appid": self._account.appid,
                    "secret": self._account.secret,
                }
                said = await self._ask("POST", "/cgi-bin/stable_token", {}, body)
                token, seconds = said.get("access_token"), said.get("expires_in")
                if not isinstance(token, str) or not isinstance(seconds, int):
                    raise NoAnswer
                self._token = token
                self._until = time.monotonic() + max(seconds - EARLY_SECONDS, 0)
            return self._token

    async def _ask(
        self, method: str, path: str, query: dict[str, str], body: dict[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, path, params=query, json=body)
            answer.raise_for_status()
            said = json.loads(answer.content)
        except (httpx.HTTPError, ValueError) as exc:
            # Its text holds the address, and the address our secret: the class alone is logged.
            log.warning("WeChat gave no answer: %s", type(exc).__name__)
            raise NoAnswer from None
        if not isinstance(said, dict):
            raise NoAnswer
        errcode = said.get("errcode", 0)
        if errcode == 0:
            return said
        if errcode in STALE_TOKEN:
            raise _StaleToken
        if errcode in REFUSED:
            raise CodeRefused
        log.warning("WeChat refused", extra={"fields": {"errcode": str(errcode)[:20]}})
        raise NoAnswer

    async def close(self) -> None:
        await self._client.aclose()


class _StaleToken(Exception):
    pass
