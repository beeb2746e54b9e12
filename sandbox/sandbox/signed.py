"""How the registers know who asks: each question signed with a shared secret.

`X-Signature: hex(hmac-sha256(secret, "timestamp\nnonce\nsha256(body)"))` beside `X-App-Id`,
`X-Timestamp` (seconds) and `X-Nonce`; a nonce counts once.
"""

import hashlib
import hmac
import time

from fastapi import Request

from .book import Book
from .keys import RegisterSide

_TOLERANCE = 300


def wrong(request: Request, body: bytes, side: RegisterSide, book: Book, room: str) -> str | None:
    """What is wrong with the signature; None when it is good and new."""
    headers = request.headers
    stamp, nonce = headers.get("x-timestamp", ""), headers.get("x-nonce", "")
    if headers.get("x-app-id") != side.app_id:
        return "unknown_app"
    now = time.time()
    if not (stamp.isascii() and stamp.isdigit() and abs(now - int(stamp)) <= _TOLERANCE):
        return "stale"
    text = f"{stamp}\n{nonce}\n{hashlib.sha256(body).hexdigest()}"
    right = hmac.new(side.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    if len(nonce) < 16 or not hmac.compare_digest(
        right.encode(), headers.get("x-signature", "").encode()
    ):
        return "bad_signature"
    with book.act() as db:
        db.execute("DELETE FROM nonces WHERE at < ?", (now - 2 * _TOLERANCE,))
        new = db.execute("INSERT OR IGNORE INTO nonces VALUES (?, ?)", (f"{room}|{nonce}", now))
    return None if new.rowcount else "repeated"
