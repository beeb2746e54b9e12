"""How long the certificate of our public address is good for: a renewal that silently fails, or a
certificate of one's own that nobody replaces, closes the door on everybody at once."""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509

log = logging.getLogger(__name__)

_LOOK_SECONDS = 3600.0
_AGAIN_SECONDS = 60.0
"""After a look that found nobody: the proxy starts later than we do."""
_PATIENCE_SECONDS = 5.0
SOON = timedelta(days=14)
LEFT = 0.2
"""Share of its life: what is renewed by itself is renewed with a third of it left."""


@dataclass(frozen=True)
class Certificate:
    begins: datetime
    ends: datetime

    def ends_soon(self, now: datetime) -> bool:
        """Whether somebody has to see to it: less than 14 days and a fifth of its life are left,
        as those of an authority of one's own may live for hours."""
        left = self.ends - now
        return left < SOON and left < LEFT * (self.ends - self.begins)


async def look(address: str) -> Certificate | None:
    """The certificate that is shown at an https address; None when nobody shows one."""
    parts = urlsplit(address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # nosemgrep: tls-not-checked -- its date is looked at, whoever signed it; nothing is sent
    context.check_hostname = False
    # nosemgrep: tls-not-checked -- as above
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or 443, ssl=context, server_hostname=parts.hostname
            )
    except OSError:  # TimeoutError and ssl.SSLError are such
        return None
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    try:
        found = x509.load_der_x509_certificate(shown)
    except ValueError:
        log.error("what the public address shows is no certificate that we can read")
        return None
    return Certificate(found.not_valid_before_utc, found.not_valid_after_utc)


class CertificateWatch:
    """`certificate` is None while it is not known, or the address is not an https one."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.certificate: Certificate | None = None

    async def run(self) -> None:
        """Until cancelled; returns at once where there is no certificate to look at."""
        while self._address.startswith("https://"):
            self.certificate = await look(self._address)
            if self.certificate is None:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            if self.certificate.ends_soon(datetime.now(UTC)):
                log.error("the certificate of the public address ends at %s",
                          self.certificate.ends.isoformat())  # fmt: skip
            await asyncio.sleep(_LOOK_SECONDS)
