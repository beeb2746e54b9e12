"""The wire of 丰桥: digest of a request, and the answer in two layers."""

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus


class ApiError(Exception):
    """An error of the outer layer, such as A1006."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code, self.message = code, message


class BusinessError(Exception):
    """An error of the inner layer, such as 8016."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code, self.message = code, message


def digest(msg_data: str, timestamp: str, check_word: str) -> str:
    """msgDigest, variant standard_md5, with the URL encoding of Java."""
    text = quote_plus(msg_data + timestamp + check_word, safe="*").replace("~", "%7E")
    return base64.b64encode(hashlib.md5(text.encode(), usedforsecurity=False).digest()).decode()


def check(form: Mapping[str, str], partner_id: str, check_word: str) -> None:
    """Raise an ApiError unless our customer sent exactly this."""
    for name in ("partnerID", "requestID", "serviceCode", "timestamp", "msgDigest", "msgData"):
        if not form.get(name):
            raise ApiError("A1001", f"必传参数不可为空: {name}")
    if form["partnerID"] != partner_id:
        raise ApiError("A1004", "无对应服务权限")
    if not form["timestamp"].isdigit():
        raise ApiError("A1001", "timestamp 需为数字")
    expected = digest(form["msgData"], form["timestamp"], check_word)
    if not hmac.compare_digest(expected.encode(), form["msgDigest"].encode()):
        raise ApiError("A1006", "数字签名无效")


def answer(msg_data: Mapping[str, Any]) -> dict[str, Any]:
    """A success in both layers."""
    return _outer(
        "A1000",
        "",
        {"success": True, "errorCode": "S0000", "errorMsg": None, "msgData": msg_data},
    )


def business_refusal(error: BusinessError) -> dict[str, Any]:
    """The transport went well, the business did not."""
    return _outer(
        "A1000",
        "",
        {"success": False, "errorCode": error.code, "errorMsg": error.message, "msgData": None},
    )


def api_refusal(error: ApiError) -> dict[str, Any]:
    """The outer layer refuses; there is no inner one."""
    return _outer(error.code, error.message, None)


def _outer(code: str, message: str, inner: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "apiErrorMsg": message,
        "apiResponseID": uuid.uuid4().hex.upper(),
        "apiResultCode": code,
        "apiResultData": json.dumps(inner, ensure_ascii=False) if inner is not None else "",
    }
