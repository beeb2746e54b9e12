"""Asking another service: `await runtime.calls.get("catalog", "/v1/items/A05")`.

Services tell each other things by events; they ask only for what they lack, and keep a snapshot.
A call carries the request id and the trace, and either the caller's token or our own.
"""

import time
from typing import Any

import httpx

from . import context
from .auth import Caller
from .errors import NotFound, Unavailable
from .http import open_client
from .settings import ServiceSettings


class OwnToken:
    """The access token of one of our own programs (client credentials, scope `internal`), kept
    until a minute before it ends."""

    def __init__(self, service: str, secret: str, token_url: str) -> None:
        self._auth, self._url = (f"svc-{service}", secret), token_url
        self._token, self._ends = "", 0.0

    async def get(self, issuer: httpx.AsyncClient) -> str:
        """Asked for through `issuer` when there is none. Raises httpx.HTTPError."""
        if time.time() > self._ends - 60:
            form = {"grant_type": "client_credentials", "scope": "internal"}
            answer = await issuer.post(self._url, data=form, auth=self._auth)
            answer.raise_for_status()
            body = answer.json()
            self._token, self._ends = body["access_token"], time.time() + body["expires_in"]
        return self._token

    def forget(self) -> None:
        """Somebody did not take it: ask for another the next time."""
        self._ends = 0.0


class Calls:
    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._clients: dict[str, httpx.AsyncClient] = {}
        secret = settings.service_secret.get_secret_value()
        self._own = OwnToken(settings.service, secret, settings.token_url)

    def _client(self, peer: str, url: str) -> httpx.AsyncClient:
        if url not in self._clients:
            self._clients[url] = open_client(url, peer=peer)
        return self._clients[url]

    async def _own_token(self) -> str:
        return await self._own.get(self._client("issuer", self._settings.token_url))

    async def get(
        self,
        service: str,
        path: str,
        *,
        as_: Caller | None = None,
        public: bool = False,
        params: dict[str, Any] | None = None,
    ) -> Any:
        """The JSON of a GET. With `as_` the caller's own rights, else ours (`public`: nobody's).

        Raises NotFound for a 404, Unavailable (503, naming the service) when it cannot answer.
        """
        headers = {"traceparent": context.child_of(context.traceparent.get())}
        if request_id := context.request_id.get():
            headers["x-request-id"] = request_id
        try:
            if as_ is not None and (as_.jkt is not None or as_.mandate is not None):
                # Its proof was for one request, the one to us, and its mandate is checked here;
                # we vouch for having seen them.
                headers["authorization"] = f"Bearer {await self._own_token()}"
                headers["x-beam-caller"] = as_.token
            elif as_ is not None:
                headers["authorization"] = f"Bearer {as_.token}"
            elif not public:
                headers["authorization"] = f"Bearer {await self._own_token()}"
            answer = await self._client(service, self._settings.url_of(service)).get(
                path, params=params, headers=headers
            )
            if answer.status_code == 404:
                raise NotFound("没有找到所需的记录。", "The record that is needed was not found.")
            if answer.status_code == 401:
                self._own.forget()
            answer.raise_for_status()
        except httpx.HTTPError as exc:
            raise Unavailable(
                "所需的服务暂时不可用,您的内容没有丢失。请稍后重试。",
                f"{service} cannot answer right now; try again shortly.",
                service=service,
            ) from exc
        return answer.json()

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
