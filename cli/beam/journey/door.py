"""A client of the platform as an app would write it: one base address, tokens, curl lines kept."""

import asyncio
import base64
import hashlib
import json
import re
import secrets
import shlex
import ssl
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx

REDIRECT_URI = "http://127.0.0.1:9/callback"
CLIENT_ID = "demo-app"
patience: ContextVar[float] = ContextVar("patience", default=45.0)
"""Seconds for which a caller asks again, for an answer or for something to come true."""


class Failed(AssertionError):
    """A step of the journey did not give what it must."""


class Away(Exception):
    """The service cannot answer right now."""


AWAY = (502, 503, 504)


def expect(condition: object, sentence: str) -> None:
    """Raise Failed with the sentence unless the condition holds."""
    if not condition:
        raise Failed(sentence)


@dataclass
class Form:
    """An HTML form as a browser would send it."""

    action: str = ""
    method: str = "get"
    fields: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(at.get("action", ""), at.get("method", "get").lower()))
        elif tag in ("input", "button") and self.forms and at.get("name"):
            form, kind = self.forms[-1], at.get("type", "text")
            if tag == "button" and form.fields.get(at["name"]):
                return
            form.fields[at["name"]] = at.get("value", "")
            form.kinds[at["name"]] = kind


def forms_of(html: str) -> list[Form]:
    parser = _Forms()
    parser.feed(html)
    return parser.forms


class Door:
    """One caller of the platform: `get`, `post` … through the gateway, with his token."""

    def __init__(
        self,
        base: str,
        who: str,
        curls: list[str] | None = None,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self.who = who
        self.client = httpx.AsyncClient(base_url=base, timeout=20, trust_env=False, verify=verify)
        self.token = ""
        self._curls = curls

    async def close(self) -> None:
        await self.client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        status: int | tuple[int, ...] = 200,
    ) -> httpx.Response:
        """Send, keep the curl line, and expect the status. What writes gets a new key; what
        is temporarily unavailable is tried again with the same key, as an app would."""
        sent = dict(headers or {})
        if self.token:
            sent["authorization"] = f"Bearer {self.token}"
        if method != "GET":
            sent.setdefault("idempotency-key", secrets.token_hex(16))
        if body is not None:
            content = json.dumps(body, ensure_ascii=False).encode()
            sent["content-type"] = "application/json"
        wanted = (status,) if isinstance(status, int) else status
        answer = await self._send(method, path, content, sent, wanted)
        self._keep_curl(method, path, content, sent)
        expect(
            answer.status_code in wanted,
            f"{self.who}: {method} {path} → {answer.status_code}, expected {wanted}: "
            f"{answer.text[:400]}",
        )
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        content: bytes | None,
        headers: dict[str, str],
        wanted: tuple[int, ...],
    ) -> httpx.Response:
        end, pause = time.monotonic() + patience.get(), 0.2
        while True:
            try:
                answer = await self.client.request(method, path, content=content, headers=headers)
            except httpx.TransportError as exc:
                trouble = type(exc).__name__
                if time.monotonic() > end:
                    raise Failed(f"{self.who}: {method} {path} got no answer: {trouble}") from None
            else:
                if answer.status_code in wanted or not _temporary(answer):
                    return answer
                if time.monotonic() > end:
                    return answer
            await asyncio.sleep(pause)
            pause = min(pause * 1.6, 5.0)

    def _keep_curl(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> None:
        if self._curls is None:
            return
        base = str(self.client.base_url).rstrip("/")
        words = ["curl", "-sS", "-X", method, f"{base}{path}"]
        for name, value in headers.items():
            shown = f"Bearer $TOKEN_{self.who}" if name == "authorization" else value
            words += ["-H", f"{name}: {shown}"]
        if content is not None and headers.get("content-type") == "application/json":
            words += ["-d", content.decode()]
        line = " ".join(shlex.quote(word) for word in words)
        self._curls.append(
            line.replace("'authorization: Bearer $", '"authorization: Bearer $').replace(
                f"TOKEN_{self.who}'", f'TOKEN_{self.who}"'
            )
        )

    async def get(self, path: str, **options: Any) -> Any:
        return (await self.call("GET", path, **options)).json()

    async def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return (await self.call("POST", path, body=body, **options)).json()

    async def sign_in(
        self, login: str, password: str, *, act_for: str | None = None
    ) -> dict[str, Any]:
        """Authorization code with PKCE, through the login page as a browser without JavaScript;
        with `act_for` as an agent of a firm, or under a mandate.

        When the service goes away in the middle, the whole sign-in starts anew: a code serves
        once, so an answer that was lost cannot be asked for again.
        """
        for pause in (0.5, 1, 2, 3, 4, 5):
            try:
                return await self._sign_in(login, password, act_for)
            except (httpx.TransportError, Away):
                self.client.cookies.clear()
                await asyncio.sleep(pause)
        return await self._sign_in(login, password, act_for)

    async def _sign_in(self, login: str, password: str, act_for: str | None) -> dict[str, Any]:
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        state, nonce = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": REDIRECT_URI,
            "scope": "openid",
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **({"act_for": act_for} if act_for else {}),
        }
        page = await self.client.get(f"/oauth2/authorize?{urlencode(query)}")
        target = await self._through_forms(page, login, password)
        answer = parse_qs(urlsplit(target).query)
        expect("code" in answer, f"{self.who}: no authorization code came back: {answer}")
        expect(answer["state"] == [state], "the state must come back unchanged")
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"][0],
            "redirect_uri": REDIRECT_URI,
            "client_id": CLIENT_ID,
            "code_verifier": verifier,
        }
        tokens = await self.client.post("/oauth2/token", data=form)
        if tokens.status_code in AWAY:
            raise Away
        expect(tokens.status_code == 200, f"{self.who}: token answer {tokens.text[:300]}")
        body: dict[str, Any] = tokens.json()
        self.token = body["access_token"]
        self.client.cookies.clear()
        return body

    async def _through_forms(self, page: httpx.Response, login: str, password: str) -> str:
        for _ in range(6):
            if page.is_redirect:
                target = urljoin(str(page.url), page.headers["location"])
                if target.startswith(REDIRECT_URI):
                    return target
                page = await self.client.get(target)
                continue
            if page.status_code in AWAY:
                raise Away
            expect(page.status_code == 200, f"login page → {page.status_code}: {page.text[:300]}")
            form = next((f for f in forms_of(page.text) if f.method == "post"), None)
            if form is None:
                raise Failed(f"no form to fill in on the login page: {_text(page.text)[:300]}")
            for name, kind in form.kinds.items():
                if kind == "password":
                    form.fields[name] = password
                elif kind in ("text", "tel", "email"):
                    form.fields[name] = login
            page = await self.client.post(
                urljoin(str(page.url), form.action or str(page.url)), data=form.fields
            )
        raise Failed(f"{self.who}: sign-in did not come to an end")


def _temporary(answer: httpx.Response) -> bool:
    if answer.status_code == 409:
        return bool(answer.json().get("code") == "in_progress")
    # (429: whoever comes again at once makes it worse for himself.)
    return answer.status_code in (429, *AWAY)


def _text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()
