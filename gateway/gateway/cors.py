"""Which web pages may read our answers in a browser, and the header lines that every answer has."""

from .settings import GatewaySettings

_EXPOSED = (
    b"etag, location, link, retry-after, www-authenticate, x-request-id, ratelimit, "
    b"ratelimit-policy, idempotent-replayed, content-language, deprecation, sunset"
)
_ASKED = (
    b"authorization, dpop, content-type, accept-language, idempotency-key, if-match, "
    b"if-none-match, x-request-id, traceparent, tracestate"
)


class Stamps:
    """Header lines for answers: made once, chosen by the `Origin` of the request."""

    def __init__(self, settings: GatewaySettings) -> None:
        plain = b"x-content-type-options: nosniff\r\n"
        if settings.issuer.startswith("https://") and settings.gateway_hsts_seconds:
            plain += b"strict-transport-security: max-age=%d\r\n" % settings.gateway_hsts_seconds
        self.plain = plain
        self._allowed = {
            origin.encode(): plain
            + b"access-control-allow-origin: %s\r\nvary: origin\r\n" % origin.encode()
            for origin in settings.gateway_cors_origins
        }
        if self._allowed:
            # Caches must not give one page's answer to another.
            self._other = plain + b"vary: origin\r\n"
        else:
            self._other = plain

    @property
    def on(self) -> bool:
        return bool(self._allowed)

    def of(self, origin: bytes | None) -> bytes:
        """The lines for an answer to a request from this page (None: not from a browser's)."""
        if origin is None:
            return self._other
        lines = self._allowed.get(origin)
        if lines is None:
            return self._other
        return lines + b"access-control-expose-headers: %s\r\n" % _EXPOSED

    def preflight(self, origin: bytes) -> bytes:
        """The lines for the answer to `OPTIONS` with `Access-Control-Request-Method`."""
        lines = self._allowed.get(origin)
        if lines is None:
            return self._other
        return (
            lines
            + b"access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"
            + b"access-control-allow-headers: %s\r\naccess-control-max-age: 600\r\n" % _ASKED
        )

    def pairs(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        """The same for an ASGI answer."""
        lines = self.of(origin).split(b"\r\n")[:-1]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
