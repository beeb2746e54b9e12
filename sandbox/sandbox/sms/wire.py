"""The wire of Aliyun's OpenAPI: signature ACS3-HMAC-SHA256, and how errors look."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

SCHEME = "ACS3-HMAC-SHA256"
TOLERANCE_SECONDS = 900
_AUTHORIZATION = re.compile(
    rf"{SCHEME} Credential=([^,\s]+), ?SignedHeaders=([a-z0-9;.-]+), ?Signature=([0-9a-f]{{64}})"
)
_MUST_SIGN = {"host", "x-acs-action", "x-acs-content-sha256", "x-acs-date",
              "x-acs-signature-nonce", "x-acs-version"}  # fmt: skip


class Refused(Exception):
    """An error of the gateway: HTTP status and Aliyun's code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message

    def body(self, request_id: str) -> dict[str, Any]:
        """As it stands in the answer."""
        return {"Code": self.code, "Message": self.message, "RequestId": request_id}


def signature(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], secret: str
) -> str:
    """The signature over these headers, all of which are signed; names in lower case."""
    pairs = sorted((quote(k, safe="~"), quote(v, safe="~")) for k, v in query.items())
    names = sorted(headers)
    canonical = "\n".join(
        [
            method,
            quote(path, safe="/~"),
            "&".join(f"{k}={v}" for k, v in pairs),
            "".join(f"{name}:{headers[name].strip()}\n" for name in names),
            ";".join(names),
            headers["x-acs-content-sha256"],
        ]
    )
    text = f"{SCHEME}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def check(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    key_id: str,
    secret: str,
) -> str:
    """The nonce of a request that our customer signed just now. Raises Refused."""
    found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if found is None:
        raise Refused(400, "IncompleteSignature", "The request signature is not complete.")
    if found[1] != key_id:
        raise Refused(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
    signed = set(found[2].split(";"))
    if not signed >= _MUST_SIGN or any(name not in headers for name in signed):
        raise Refused(400, "IncompleteSignature", "A header that must be signed is not.")
    try:
        at = datetime.strptime(headers["x-acs-date"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refused(400, "InvalidTimeStamp.Format", "Timestamp format is invalid.") from None
    if abs((datetime.now(UTC) - at).total_seconds()) > TOLERANCE_SECONDS:
        raise Refused(400, "InvalidTimeStamp.Expired", "Specified time stamp is expired.")
    if headers["x-acs-content-sha256"] != hashlib.sha256(body).hexdigest():
        raise Refused(400, "SignatureDoesNotMatch", "The content was changed.")
    expected = signature(method, path, query, {n: headers[n] for n in signed}, secret)
    if not hmac.compare_digest(expected, found[3]):
        raise Refused(400, "SignatureDoesNotMatch", "Specified signature does not match.")
    return headers["x-acs-signature-nonce"]
