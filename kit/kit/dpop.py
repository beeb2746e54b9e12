"""Proof of possession (RFC 9449): a token that was bound to a key is no use without that key.

A proof is signed for one request: method, address, moment, and the token that it goes with. It is
accepted once, so a copy of the whole request is refused too.
"""

import base64
import hashlib
import hmac
import time
from urllib.parse import urlsplit

from .jose import BadToken, read_proof

OLDEST_SECONDS = 60
AHEAD_SECONDS = 15
MOST_SEEN = 100_000
_PORTS = {"http": 80, "https": 443}


class Full(Exception):
    """So many proofs are remembered that no other may be accepted now."""


class Seen:
    """Which proofs were accepted lately: two generations, so that memory has an end. When one
    is full nothing more is accepted; forgetting early would let copies in."""

    def __init__(self, most: int = MOST_SEEN) -> None:
        self._most = most
        self._present: set[bytes] = set()
        self._past: set[bytes] = set()
        self._turned = time.monotonic()

    def once(self, name: str) -> bool:
        """True the first time that a name comes, False after it. Raises Full."""
        now = time.monotonic()
        if now - self._turned > OLDEST_SECONDS + AHEAD_SECONDS:
            stale = now - self._turned > 2 * (OLDEST_SECONDS + AHEAD_SECONDS)
            self._past = set() if stale else self._present
            self._present, self._turned = set(), now
        key = hashlib.sha256(name.encode("utf-8", "replace")).digest()
        if key in self._present or key in self._past:
            return False
        if len(self._present) >= self._most:
            raise Full
        self._present.add(key)
        return True


def _same(said: str, address: str) -> bool:
    """Whether two addresses are one: query and fragment do not count, nor the case of the host."""
    one, other = urlsplit(said), urlsplit(address)
    places = [
        (u.scheme.lower(), (u.hostname or ""), u.port or _PORTS.get(u.scheme.lower()), u.path)
        for u in (one, other)
    ]
    return places[0] == places[1] and not one.username and not one.password


def hashed(token: str) -> str:
    """`ath`: the access token that a proof goes with."""
    digest = hashlib.sha256(token.encode("ascii", "replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def check(proof: str, *, method: str, address: str, token: str | None = None) -> tuple[str, str]:
    """The thumbprint of the key of a proof that fits this request, and the name under which it
    must come once only. Raises BadToken."""
    jkt, claims = read_proof(proof)
    try:
        at, jti = claims["iat"], claims["jti"]
        if type(at) is not int or not -AHEAD_SECONDS <= time.time() - at <= OLDEST_SECONDS:
            raise BadToken("iat")
        if not isinstance(jti, str) or not 1 <= len(jti) <= 512:
            raise BadToken("jti")
        if claims["htm"] != method or not _same(claims["htu"], address):
            raise BadToken("htm or htu")
        if token is not None and not hmac.compare_digest(claims["ath"], hashed(token)):
            raise BadToken("ath")
    except BadToken:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise BadToken("a claim is missing or odd") from None
    return jkt, f"{jkt}|{jti}"
