"""The wire of WeChat Pay API v3: who we are there, signed calls and believed answers.

What the calls mean is in `wechat.py`, how signatures are made and checked in `wechat_keys.py`.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from . import BadSignature, Refused, Unknown
from .wechat_bills import BillFile
from .wechat_keys import KeyRing, PlatformKeys, authorization, decrypt, public_keys

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, repr=False)
class Merchant:
    """Who we are at WeChat Pay. `serial_no` names our certificate; `apiv3_key` has 32 bytes."""

    mchid: str
    appid: str
    serial_no: str
    private_key: RSAPrivateKey
    apiv3_key: bytes

    @classmethod
    def load(cls, folder: Path) -> "Merchant":
        """Read `merchant.json` (mchid, appid, serial_no), `merchant_key.pem` and `apiv3_key`."""
        facts = json.loads((folder / "merchant.json").read_text("utf-8"))
        key = load_pem_private_key((folder / "merchant_key.pem").read_bytes(), None)
        apiv3_key = (folder / "apiv3_key").read_bytes().strip()
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("merchant_key.pem must hold an RSA key")
        if len(apiv3_key) != 32:
            raise ValueError("apiv3_key must have 32 bytes")
        return cls(facts["mchid"], facts["appid"], facts["serial_no"], key, apiv3_key)


class Wire:
    """Signed calls of one merchant to one address; `client` stays the caller's to close.

    `timeout` in seconds holds for each call that names none of its own.
    """

    def __init__(
        self,
        *,
        base_url: str,
        merchant: Merchant,
        client: httpx.AsyncClient,
        timeout: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.merchant = merchant
        self.base_url = base_url.rstrip("/")
        self._client = client
        self._timeout = timeout
        self._now = now
        self._platform = PlatformKeys(self._certificates, now)

    async def call(
        self,
        method: str,
        target: str,
        payload: Mapping[str, Any] | None = None,
        *,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """One signed call with a verified answer; an empty answer is an empty dict."""
        answer = await self._send(method, target, payload, seconds)
        status = answer.status_code
        # A refusal of our own signature cannot be signed for us; it did nothing in any case.
        if status >= 500 or status in (401, 429):
            raise self._refusal(answer)
        await self._platform.verify(answer.headers, answer.content)
        if status in (200, 204):
            return read(lambda: dict(json.loads(answer.content or b"{}")))
        if 400 <= status < 500:
            raise self._refusal(answer)
        raise Unknown(f"WeChat Pay answered {status}")

    async def download(self, target: str, file: BillFile, *, seconds: float) -> None:
        """This answer alone is not signed: the hash in the signed one before vouches for it."""
        request = self._request("GET", target)
        # The bytes of the file, not of a coding on the way.
        request.headers["Accept-Encoding"] = "identity"
        try:
            async with asyncio.timeout(seconds):
                answer = await self._client.send(request, stream=True, follow_redirects=False)
                try:
                    if answer.status_code != 200:
                        raise Unknown(f"WeChat Pay gives no file ({answer.status_code})")
                    async for piece in answer.aiter_raw(1 << 16):
                        await asyncio.to_thread(file.feed, piece)
                finally:
                    await answer.aclose()
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unknown(f"no file from WeChat Pay ({type(error).__name__})") from None

    async def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raises BadSignature, or Unknown if the platform's keys cannot be fetched."""
        await self._platform.verify(headers, body)

    def opened(self, resource: Mapping[str, Any]) -> bytes:
        """What is sealed under our key. Raises InvalidTag, or ValueError for another form."""
        return decrypt(self.merchant.apiv3_key, resource)

    async def _certificates(self) -> KeyRing:
        """Fetch and decrypt the platform's keys; their answer is signed by one of themselves."""
        answer = await self._send("GET", "/v3/certificates")
        if answer.status_code != 200:
            # Never Refused: this is asked on behalf of a call that may have taken effect.
            raise Unknown(f"WeChat Pay refuses its keys ({answer.status_code})")
        try:
            found = public_keys(self.merchant.apiv3_key, answer.content, self._now())
        except InvalidTag:
            raise BadSignature("the platform's keys are not encrypted under our key") from None
        self._platform.check(found, answer.headers, answer.content)
        return found

    async def _send(
        self,
        method: str,
        target: str,
        payload: Mapping[str, Any] | None = None,
        seconds: float | None = None,
    ) -> httpx.Response:
        request = self._request(method, target, payload, seconds)
        try:
            return await self._client.send(request, follow_redirects=False)
        except httpx.HTTPError as error:
            # The text of httpx errors may hold our request; the class says enough.
            raise Unknown(f"no answer from WeChat Pay ({type(error).__name__})") from None

    def _request(
        self,
        method: str,
        target: str,
        payload: Mapping[str, Any] | None = None,
        seconds: float | None = None,
    ) -> httpx.Request:
        body = b""
        if payload is not None:
            body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        request = self._client.build_request(
            method, self.base_url + target, content=body or None, timeout=seconds or self._timeout
        )
        m = self.merchant
        request.headers["Authorization"] = authorization(
            m.mchid, m.serial_no, m.private_key, method, request.url.raw_path, body, self._now()
        )
        request.headers["Accept"] = "application/json"
        request.headers["User-Agent"] = "one-beam"
        if body:
            request.headers["Content-Type"] = "application/json"
        return request

    @staticmethod
    def _refusal(answer: httpx.Response) -> Unknown | Refused:
        if answer.status_code >= 500:
            return Unknown(f"WeChat Pay answered {answer.status_code}")
        try:
            told = answer.json()
            return Refused(str(told["code"]), str(told.get("message", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return Refused(f"HTTP_{answer.status_code}")


def read(parse: Callable[[], _T]) -> _T:
    """What a verified message says; one that we cannot read leaves the outcome open."""
    try:
        return parse()
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Unknown(f"unreadable message from WeChat Pay ({type(error).__name__})") from None
