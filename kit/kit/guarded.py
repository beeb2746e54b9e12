"""Calls to addresses that somebody else named (server-side request forgery, OWASP API7).

The name is resolved once, every address that it stands for is checked, and the connection goes to
a checked one, so a name that flips between two look-ups gains nothing. https only, but for the
machine itself where that is allowed; no redirects, five seconds in all, 64 KiB of answer.
"""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import httpx

from .peers import Peers

SECONDS = 5.0
LARGEST = 64 * 1024
_NAT64 = ip_network("64:ff9b::/96")
Unreachable = httpx.HTTPError
"""Whatever goes wrong on the way, for callers that do not speak HTTP themselves."""
Resolve = Callable[[str, int], Awaitable[list[str]]]


class Forbidden(httpx.RequestError):
    """The address is none that we call; nothing was sent."""


class BadAnswer(httpx.RequestError):
    """The answer is too large, or not what was asked for."""


async def _resolve(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def is_public(address: str) -> bool:
    """Whether it is a unicast address of the open internet, and no way round to another one."""
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if inner is not None:
            return is_public(str(inner))
        if found in _NAT64:
            return is_public(str(IPv4Address(int(found) & 0xFFFFFFFF)))
    return found.is_global and not found.is_multicast


class Guard(httpx.AsyncBaseTransport):
    """A transport that goes nowhere else. `private`: networks of our own that are allowed beside
    the internet, such as the departments' (10.20.0.0/16), or the machine itself in a trial."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        private: Iterable[str] = (),
        resolve: Resolve = _resolve,
    ) -> None:
        self._inner, self._private, self._resolve = inner, Peers(private), resolve

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.scheme not in ("https", "http") or url.userinfo:
            raise Forbidden("scheme or user", request=request)
        try:
            addresses = await self._resolve(url.host, url.port or 443)
            checked = [a for a in addresses if a in self._private or is_public(a)]
        except (OSError, ValueError) as error:
            raise httpx.ConnectError("no such host", request=request) from error
        if not addresses or len(checked) != len(addresses):
            raise Forbidden("a private address", request=request)
        if url.scheme == "http" and not all(ip_address(a).is_loopback for a in checked):
            raise Forbidden("not https", request=request)
        request.extensions = {**request.extensions, "sni_hostname": url.host}
        request.url = url.copy_with(host=checked[0])
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Outward:
    """The client for such calls: build it once, share it, close it at the end."""

    def __init__(self, private: Iterable[str] = (), resolve: Resolve = _resolve) -> None:
        inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
        self._client = httpx.AsyncClient(
            transport=Guard(inner, private, resolve), timeout=SECONDS, trust_env=False
        )

    async def post(self, url: str, form: Mapping[str, str]) -> int:
        """The status of the answer to a form. Raises httpx.HTTPError."""
        status, _ = await self._call("POST", url, data=dict(form))
        return status

    async def json(self, url: str) -> Any:
        """The JSON of a GET. Raises httpx.HTTPError."""
        status, body = await self._call("GET", url, headers={"accept": "application/json"})
        try:
            if status != 200:
                raise ValueError(status)
            return json.loads(body)
        except ValueError as error:
            raise BadAnswer("no JSON") from error

    async def _call(self, method: str, url: str, **sent: Any) -> tuple[int, bytes]:
        try:
            async with (
                asyncio.timeout(SECONDS),
                self._client.stream(method, url, follow_redirects=False, **sent) as answer,
            ):
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > LARGEST:
                        raise BadAnswer("too large")
                return answer.status_code, bytes(body)
        except TimeoutError as error:
            raise httpx.ReadTimeout("no end within five seconds") from error
        except httpx.InvalidURL as error:
            raise Forbidden("no address") from error

    async def close(self) -> None:
        await self._client.aclose()
