"""Licences as SD-JWT VC: signed once, each personal field disclosed only when the holder wants.

A credential reads `<ES256 JWT>~<disclosure>~…~`. A disclosure is the base64url of
`[salt, name, value]`; the JWT holds only its SHA-256 digest. Hidden licence fields lie in the
object `fields` with digests of their own, so that no field can take the place of a claim.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Collection, Mapping
from typing import Any

from .keys import Signer

TYPE = "dc+sd-jwt"


def issue(
    signer: Signer,
    claims: Mapping[str, Any],
    *,
    hidden: Mapping[str, Any],
    fields: Mapping[str, Any],
    hidden_fields: Mapping[str, Any],
) -> str:
    """Sign `claims` and `fields` readable, `hidden` and `hidden_fields` as digests."""
    top = [_disclosure(name, value) for name, value in sorted(hidden.items())]
    inner = [_disclosure(name, value) for name, value in sorted(hidden_fields.items())]
    body: dict[str, Any] = {
        **claims,
        "_sd_alg": "sha-256",
        "_sd": sorted(map(digest, top)),
        "fields": dict(fields) | ({"_sd": sorted(map(digest, inner))} if inner else {}),
    }
    return "~".join([signer.key.sign(body, TYPE), *top, *inner, ""])


def narrow(credential: str, names: Collection[str]) -> str:
    """The same credential with the disclosures of these names only."""
    token, *disclosures, _ = credential.split("~")
    return "~".join([token, *(d for d in disclosures if name_of(d) in names), ""])


def name_of(disclosure: str) -> str:
    padded = disclosure + "=" * (-len(disclosure) % 4)
    return str(json.loads(base64.urlsafe_b64decode(padded))[1])


def digest(disclosure: str) -> str:
    return _b64(hashlib.sha256(disclosure.encode("ascii")).digest())


def _disclosure(name: str, value: Any) -> str:
    salted = [secrets.token_urlsafe(16), name, value]
    return _b64(json.dumps(salted, ensure_ascii=False).encode())


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
