"""Signatures and keys of WeChat Pay API v3: signing ours, checking theirs, opening what is sealed.

No address and no business meaning in here; `wechat_wire.py` and `wechat.py` have those.
"""

import asyncio
import base64
import binascii
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from . import BadSignature, Unknown

SCHEME = "WECHATPAY2-SHA256-RSA2048"
_TOLERANCE = 300  # seconds a signature may be old
_STALE = 12 * 3600  # seconds after which the platform's keys are fetched anew
_PAUSE = 10  # seconds between two fetches caused by unknown serial numbers

KeyRing = dict[str, RSAPublicKey]


def authorization(
    mchid: str,
    serial_no: str,
    key: RSAPrivateKey,
    method: str,
    raw_path: bytes,
    body: bytes,
    now: float,
) -> str:
    """The Authorization header for one request; `raw_path` is path and query as on the wire."""
    stamp, nonce = str(int(now)), secrets.token_hex(16)
    message = b"\n".join([method.encode(), raw_path, stamp.encode(), nonce.encode(), body, b""])
    signature = base64.b64encode(key.sign(message, PKCS1v15(), SHA256())).decode()
    return (
        f'{SCHEME} mchid="{mchid}",nonce_str="{nonce}",timestamp="{stamp}",'
        f'serial_no="{serial_no}",signature="{signature}"'
    )


def decrypt(apiv3_key: bytes, resource: Mapping[str, Any]) -> bytes:
    """Open an AEAD_AES_256_GCM resource. Raises InvalidTag, or ValueError for another form."""
    if resource["algorithm"] != "AEAD_AES_256_GCM":
        raise ValueError("algorithm")
    sealed = base64.b64decode(resource["ciphertext"], validate=True)
    nonce = str(resource["nonce"]).encode()
    aad = str(resource.get("associated_data") or "").encode()
    return AESGCM(apiv3_key).decrypt(nonce, sealed, aad)


def public_keys(apiv3_key: bytes, body: bytes, now: float) -> KeyRing:
    """The unexpired platform keys by upper-case serial number in an answer of /v3/certificates.

    Raises InvalidTag if they are not sealed under our key, Unknown if they cannot be read.
    """
    moment = datetime.fromtimestamp(now, UTC)
    found: KeyRing = {}
    try:
        for entry in json.loads(body)["data"]:
            pem = decrypt(apiv3_key, entry["encrypt_certificate"])
            certificate = load_pem_x509_certificate(pem)
            key = certificate.public_key()
            serial = f"{certificate.serial_number:X}"
            if int(entry["serial_no"], 16) != certificate.serial_number:
                raise ValueError("serial number")
            if moment <= certificate.not_valid_after_utc and isinstance(key, RSAPublicKey):
                found[serial] = key
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Unknown(f"unreadable platform keys ({type(error).__name__})") from None
    return found


class PlatformKeys:
    """The platform's keys, fetched when first needed, every twelve hours, and when a message
    names one we do not know: at most every ten seconds, so that a stranger who invents serial
    numbers cannot make us call."""

    def __init__(self, fetch: Callable[[], Awaitable[KeyRing]], now: Callable[[], float]) -> None:
        self._fetch = fetch
        self._now = now
        self._keys: KeyRing = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raise BadSignature unless `body` is freshly signed by the platform."""
        # The cheap checks come first: a forgery should cost us neither a call nor a key.
        serial = _serial(_headers(headers, self._now()))
        if serial not in self._keys or self._now() - self._fetched_at > _STALE:
            await self._refresh(serial)
        self.check(self._keys, headers, body)

    def check(self, keys: KeyRing, headers: Mapping[str, str], body: bytes) -> None:
        """As `verify`, with exactly these keys."""
        signed = _headers(headers, self._now())
        key = keys.get(_serial(signed))
        if key is None:
            raise BadSignature("signed with a key we do not know")
        stamp, nonce = signed["timestamp"].encode(), signed["nonce"].encode()
        message = b"\n".join([stamp, nonce, body, b""])
        try:
            signature = base64.b64decode(signed["signature"], validate=True)
            key.verify(signature, message, PKCS1v15(), SHA256())
        except (InvalidSignature, binascii.Error, ValueError):
            raise BadSignature("the signature does not fit") from None

    async def _refresh(self, serial: str) -> None:
        async with self._lock:
            now = self._now()
            stale = now - self._fetched_at > _STALE
            if (serial in self._keys and not stale) or now - self._tried_at < _PAUSE:
                return
            self._tried_at = now
            try:
                self._keys = await self._fetch()
            except Unknown:
                # Known keys stay good while the platform cannot be reached.
                if serial in self._keys:
                    return
                self._tried_at = now - _PAUSE + 1
                raise
            self._fetched_at = now


def _headers(headers: Mapping[str, str], now: float) -> dict[str, str]:
    """The four signature headers, in any spelling, with a timestamp that is fresh."""
    lower = {name.lower(): value for name, value in headers.items()}
    names = ("timestamp", "nonce", "serial", "signature")
    signed = {name: lower.get(f"wechatpay-{name}", "") for name in names}
    if not all(signed.values()):
        raise BadSignature("signature headers are missing")
    if lower.get("wechatpay-signature-type", SCHEME) != SCHEME:
        raise BadSignature("another kind of signature")
    if signed["signature"].startswith("WECHATPAY/SIGNTEST/"):
        raise BadSignature("the platform tests whether we check", probe=True)
    stamp = signed["timestamp"]
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise BadSignature("the timestamp is no number")
    if abs(now - int(stamp)) >= _TOLERANCE:
        raise BadSignature("the message is stale")
    return signed


def _serial(signed: Mapping[str, str]) -> str:
    return signed["serial"].upper().lstrip("0")
