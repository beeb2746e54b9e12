"""The bytes of a problem (RFC 9457), for FastAPI services and for the gateway's raw lane alike."""

import json
from typing import Any


def wants_english(accept_language: str | None) -> bool:
    """True when the first language that we speak (zh, en) in the header is English."""
    for part in (accept_language or "").lower().split(","):
        tag = part.strip()
        if tag.startswith("en"):
            return True
        if tag.startswith("zh"):
            return False
    return False


def render(
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    instance: str,
    request_id: str | None,
    **extra: Any,
) -> bytes:
    body = {
        "type": f"/docs/errors#{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
        "request_id": request_id,
        **extra,
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
