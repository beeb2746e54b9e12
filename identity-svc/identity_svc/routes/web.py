"""What the pages and the OAuth endpoints share: parameters, cookies, addresses, answers."""

import hmac
import secrets
from functools import cached_property
from typing import Annotated
from urllib.parse import parse_qs, parse_qsl, urlencode

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from kit import views
from kit.peers import Peers
from kit.runtime import Runtime
from kit.views import View

from ..keys import SigningKeys
from ..logins import Doorman
from ..outside import Outside
from ..provider import Answer
from ..settings import Settings

FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 40
LARGEST = 64 * 1024
Parameters = list[tuple[str, str]]
UNREADABLE: Parameters = [("", ""), ("", "")]
"""Fails the provider's check as a repeated parameter does."""


class Web:
    """One request's view of the running service."""

    def __init__(self, request: Request) -> None:
        self.request = request
        runtime: Runtime = request.app.state.runtime
        settings = runtime.settings
        assert isinstance(settings, Settings)
        self.runtime, self.settings = runtime, settings
        self.keys: SigningKeys = runtime.parts["keys"]
        self.door: Doorman = runtime.parts["door"]
        self.outside: Outside = runtime.parts["outside"]
        self.secure = settings.issuer.startswith("https://")
        self._prefix = "__Host-" if self.secure else ""
        self.sent: dict[str, str] = {}
        """The fields of the form, once it has been read."""

    def query(self) -> Parameters:
        return _read(self.request.scope["query_string"])

    async def form(self) -> Parameters:
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await self.request.body()
        fields = _read(body) if kind == FORM and len(body) <= LARGEST else UNREADABLE
        self.sent = dict(fields)
        return fields

    @cached_property
    def view(self) -> View:
        """Language and size of the page that answers; for a form's answer, ask after `form()`."""
        request = self.request
        query = request.query_params
        back = query.get("return_to") or self.sent.get("return_to") or ""
        asked = (
            query.get("ui_locales") or parse_qs(back.partition("?")[2]).get("ui_locales", [""])[0]
        )
        return views.read(
            query=query,
            cookies=request.cookies,
            accept_language=request.headers.get("accept-language"),
            sent=self.sent,
            ui_locales=asked,
        )

    @property
    def english(self) -> bool:
        return self.view.english

    def t(self, zh: str, en: str) -> str:
        return self.view.t(zh, en)

    @property
    def here(self) -> str:
        """Where this page can be opened again: its own address, for a form's answer the form's."""
        url = self.request.url
        if self.request.method == "GET":
            return f"{url.path}?{url.query}" if url.query else url.path
        fields = {n: self.sent[n] for n in ("return_to", "user_code") if self.sent.get(n)}
        return f"{url.path}?{urlencode(fields)}" if fields else url.path

    def keep_view(self, response: Response) -> None:
        """Remember what the person has just chosen."""
        for line in self.view.cookie_lines(secure=self.secure):
            response.headers.append("set-cookie", line)

    def cookie(self, name: str) -> str | None:
        value = self.request.cookies.get(self._prefix + name)
        return value if value and len(value) <= 200 and value.isascii() else None

    def set_cookie(self, response: Response, name: str, value: str) -> None:
        response.set_cookie(
            self._prefix + name, value, path="/", httponly=True, samesite="lax", secure=self.secure
        )

    def drop_cookie(self, response: Response, name: str) -> None:
        response.delete_cookie(
            self._prefix + name, path="/", httponly=True, samesite="lax", secure=self.secure
        )

    def form_key(self) -> str:
        """The secret of this browser's forms: from its cookie, or a new one."""
        return self.cookie("beam_form") or secrets.token_hex(16)

    def form_token(self, form_key: str) -> str:
        return self.runtime.vault.index(f"form|{form_key}")

    def form_holds(self, sent: str) -> bool:
        """Whether a form came from a page that we gave to this very browser."""
        key = self.cookie("beam_form")
        return key is not None and hmac.compare_digest(self.form_token(key).encode(), sent.encode())

    def address(self) -> str:
        """The address of who is calling; what a trusted proxy says of it counts."""
        peer = self.request.client.host if self.request.client else "unknown"
        said = self.request.headers.get("x-forwarded-for")
        if said and peer in Peers(self.settings.identity_trusted_proxies):
            return said.rpartition(",")[2].strip()[:64]
        return peer


def _read(raw: bytes) -> Parameters:
    try:
        return parse_qsl(raw.decode("ascii"), errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        return UNREADABLE


async def _web(request: Request) -> Web:
    at = request.state.web = Web(request)
    return at


At = Annotated[Web, Depends(_web)]


def answered(answer: Answer) -> Response:
    """The HTTP answer of the provider: a redirect where it says so, JSON otherwise."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    headers["cache-control"] = "no-store"
    headers.pop("content-type", None)
    if "location" in headers:
        return RedirectResponse(headers.pop("location"), answer.status, headers)
    return JSONResponse(dict(answer.body), answer.status, headers)
