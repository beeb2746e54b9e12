"""The wire of WeChat Pay: checks the merchant's signature, signs answers, seals resources."""

import base64
import binascii
import json
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.responses import Response

from .. import keys
from ..book import Book

SCHEME = "WECHATPAY2-SHA256-RSA2048"
_TOLERANCE = 300
_PAIRS = re.compile(r'([a-z_]+)="([^"]*)"')
_NAMES = {"mchid", "nonce_str", "timestamp", "serial_no", "signature"}


class WireError(Exception):
    """An error in WeChat Pay's own form."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


def param_error(message: str) -> WireError:
    """400 PARAM_ERROR."""
    return WireError(400, "PARAM_ERROR", message)


def invalid_request(message: str) -> WireError:
    """400 INVALID_REQUEST."""
    return WireError(400, "INVALID_REQUEST", message)


class Wire:
    """WeChat Pay's end of the wire, with its keys from the keys folder."""

    def __init__(self, folder: Path, book: Book) -> None:
        self._folder = folder
        self._book = book
        self.side = keys.read_wechat(folder)

    def rotate(self, *, retire: bool) -> str:
        """Sign with a new platform key from now on. Its serial number."""
        keys.rotate_platform(self._folder, retire=retire)
        self.side = keys.read_wechat(self._folder)
        return self.side.current.serial_no

    def verify(self, method: str, raw_path: bytes, headers: Mapping[str, str], body: bytes) -> None:
        """Raise 401 SIGN_ERROR unless the merchant signed exactly this, freshly, for once."""
        scheme, _, rest = headers.get("authorization", "").partition(" ")
        pairs = _PAIRS.findall(rest)
        signed = dict(pairs)
        if scheme != SCHEME or set(signed) != _NAMES or len(pairs) != len(_NAMES):
            raise _sign_error("Authorization 请求头的格式不符合要求")
        if signed["mchid"] != self.side.mchid:
            raise _sign_error("商户号不存在")
        if signed["serial_no"].upper() != self.side.merchant_serial_no:
            raise _sign_error("商户证书序列号不匹配")
        stamp, nonce, now = signed["timestamp"], signed["nonce_str"], time.time()
        if not (stamp.isascii() and stamp.isdigit() and abs(now - int(stamp)) < _TOLERANCE):
            raise _sign_error("请求时间戳与服务器时间相差超过 5 分钟")
        if not 16 <= len(nonce) <= 32:
            raise _sign_error("随机串的长度不符合要求")
        message = b"\n".join([method.encode(), raw_path, stamp.encode(), nonce.encode(), body, b""])
        try:
            signature = base64.b64decode(signed["signature"], validate=True)
            self.side.merchant_key.verify(signature, message, PKCS1v15(), SHA256())
        except (InvalidSignature, binascii.Error):
            raise _sign_error("签名验证失败") from None
        with self._book.act() as db:
            db.execute("DELETE FROM nonces WHERE at < ?", (now - 2 * _TOLERANCE,))
            new = db.execute("INSERT OR IGNORE INTO nonces VALUES (?, ?)", (nonce, now)).rowcount
        if not new:
            raise _sign_error("随机串重复使用")

    def answer(self, status: int, payload: Mapping[str, Any] | None = None) -> Response:
        """A signed answer; without a payload the body is empty, and signed as such."""
        body = b"" if payload is None else _json(payload)
        response = Response(body, status, headers=self.sign(body))
        if payload is not None:
            response.headers["Content-Type"] = "application/json; charset=utf-8"
        return response

    def refusal(self, error: WireError) -> Response:
        """An error answer. Who signs wrongly gets no signature back."""
        payload = {"code": error.code, "message": error.message, "detail": {}}
        if error.status != 401:
            return self.answer(error.status, payload)
        return Response(_json(payload), 401, media_type="application/json")

    def sign(self, body: bytes) -> dict[str, str]:
        """The signature headers for a body of ours."""
        current = self.side.current
        stamp, nonce = str(int(time.time())), secrets.token_hex(16)
        message = b"\n".join([stamp.encode(), nonce.encode(), body, b""])
        signature = current.key.sign(message, PKCS1v15(), SHA256())
        return {
            "Wechatpay-Timestamp": stamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": current.serial_no,
            "Wechatpay-Signature": base64.b64encode(signature).decode(),
            "Wechatpay-Signature-Type": SCHEME,
        }

    def seal(self, plain: bytes, associated_data: str) -> dict[str, str]:
        """Encrypt under the merchant's APIv3 key."""
        nonce = secrets.token_hex(6)
        sealed = AESGCM(self.side.apiv3_key).encrypt(
            nonce.encode(), plain, associated_data.encode()
        )
        return {
            "algorithm": "AEAD_AES_256_GCM",
            "nonce": nonce,
            "associated_data": associated_data,
            "ciphertext": base64.b64encode(sealed).decode(),
        }

    def certificates(self) -> dict[str, Any]:
        """The body of GET /v3/certificates."""
        return {
            "data": [
                {
                    "serial_no": entry.serial_no,
                    "effective_time": entry.certificate.not_valid_before_utc.isoformat(),
                    "expire_time": entry.certificate.not_valid_after_utc.isoformat(),
                    "encrypt_certificate": self.seal(entry.pem, "certificate"),
                }
                for entry in self.side.platform
            ]
        }


def _sign_error(message: str) -> WireError:
    return WireError(401, "SIGN_ERROR", message)


def _json(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
