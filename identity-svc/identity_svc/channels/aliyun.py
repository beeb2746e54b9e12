"""Short messages through Aliyun: SendSms of dysmsapi 2017-05-25, signed ACS3-HMAC-SHA256.

Numbers and codes travel in the body, never in the address. Sandbox and production differ by
address and account alone.
"""

import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import httpx

from kit.clock import now
from kit.http import CircuitOpen, open_client

from . import Sent

log = logging.getLogger(__name__)
SCHEME = "ACS3-HMAC-SHA256"
OPEN = (None, "InternalError", "ServiceUnavailable")
"""Answers that leave open whether the message went out."""
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """Our key at Aliyun, the signature that it approved, and the templates: for codes, and (none:
    not sent) for telling a number that it opens its account no longer."""

    access_key_id: str
    access_key_secret: str
    sign_name: str
    template_code: str
    notice_template_code: str = ""

    @classmethod
    def load(cls, folder: Path) -> "Account":
        """Read `account.json` with these fields."""
        return cls(**json.loads((folder / "account.json").read_text("utf-8")))


def authorization(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    key_id: str,
    secret: str,
) -> str:
    """The value of `Authorization` over these headers (lower case, all are signed)."""
    signed = ";".join(sorted(headers))
    canonical = "\n".join(
        (
            method,
            quote(path, safe="/~"),
            "&".join(
                f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(query.items())
            ),
            *(f"{name}:{headers[name].strip()}" for name in sorted(headers)),
            "",
            signed,
            headers["x-acs-content-sha256"],
        )
    )
    text = f"{SCHEME}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    return f"{SCHEME} Credential={key_id},SignedHeaders={signed},Signature={signature}"


class Aliyun:
    """The Messages of this house over Aliyun."""

    def __init__(self, base_url: str, account: Account) -> None:
        self._account = account
        self._host = urlsplit(base_url).netloc
        self._client = open_client(base_url)

    async def send_code(self, phone: str, code: str, *, reference: str) -> Sent:
        return await self._send(phone, self._account.template_code, {"code": code}, reference)

    async def send_notice(self, phone: str, *, reference: str) -> Sent:
        template = self._account.notice_template_code
        if not template:
            log.warning("no template for notices: nobody is told")
            return "refused"
        return await self._send(phone, template, {}, reference)

    async def _send(
        self, phone: str, template: str, parameters: Mapping[str, str], reference: str
    ) -> Sent:
        account = self._account
        body = urlencode(
            {
                "PhoneNumbers": phone,
                "SignName": account.sign_name,
                "TemplateCode": template,
                "TemplateParam": json.dumps(parameters),
                "OutId": reference,
            }
        ).encode()
        headers = {
            "host": self._host,
            "content-type": FORM,
            "x-acs-action": "SendSms",
            "x-acs-version": "2017-05-25",
            "x-acs-date": now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "x-acs-signature-nonce": secrets.token_hex(16),
            "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        }
        headers["authorization"] = authorization(
            "POST",
            "/",
            {},
            headers,
            key_id=account.access_key_id,
            secret=account.access_key_secret,
        )
        try:
            answer = await self._client.post("/", content=body, headers=headers)
            said = answer.json()
            result = said["Code"] if isinstance(said, dict) else None
        except (httpx.ConnectError, CircuitOpen):
            return "refused"
        except (httpx.HTTPError, ValueError, KeyError) as exc:
            log.warning("short message of unknown outcome: %s", type(exc).__name__)
            return "unknown"
        if result == "OK":
            return "sent"
        log.warning("short message refused", extra={"fields": {"code": str(result)[:60]}})
        return "unknown" if result in OPEN else "refused"

    async def close(self) -> None:
        await self._client.aclose()
