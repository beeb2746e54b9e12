"""Notifications of WeChat Pay: sealed, signed, repeated on its schedule for a day."""

import json
from collections.abc import Sequence
from typing import Any

import httpx

from .orders import beijing
from .wire import Wire

_MINUTE, _HOUR = 60.0, 3600.0


class Notices:
    """The `Sender` of WeChat Pay."""

    channel = "wechat"
    pauses: Sequence[float] = (
        15.0, 15.0, 30.0, 3 * _MINUTE, 10 * _MINUTE, 20 * _MINUTE, 30 * _MINUTE, 30 * _MINUTE,
        30 * _MINUTE, _HOUR, 3 * _HOUR, 3 * _HOUR, 3 * _HOUR, 6 * _HOUR, 6 * _HOUR,
    )  # fmt: skip

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def render(self, post: dict[str, Any]) -> tuple[dict[str, str], bytes]:
        """One try: the same id and content, sealed and signed afresh."""
        content = json.loads(post["content"])
        plain = json.dumps(content["plain"], ensure_ascii=False).encode()
        original = content["original_type"]
        notice = {
            "id": post["id"].removesuffix("-signtest").partition("-copy")[0],
            "create_time": beijing(post["created_at"]),
            "resource_type": "encrypt-resource",
            "event_type": content["event_type"],
            "summary": content["summary"],
            "resource": {"original_type": original, **self._wire.seal(plain, original)},
        }
        body = json.dumps(notice, ensure_ascii=False, separators=(",", ":")).encode()
        headers = self._wire.sign(body)
        if post["signtest"]:
            genuine = headers["Wechatpay-Signature"]
            headers["Wechatpay-Signature"] = f"WECHATPAY/SIGNTEST/{genuine}"
        headers["Content-Type"] = "application/json"
        return headers, body

    def accepted(self, answer: httpx.Response) -> bool:
        """200 and 204 are the only words WeChat Pay understands as yes."""
        return answer.status_code in (200, 204)
