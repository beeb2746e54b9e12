"""identity-svc with its demo data, and a browser that goes through its pages."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from sqlalchemy import select

from identity_svc import seed
from identity_svc.models import Account
from kit.testing import Ground, Running
from sandbox.testing import Sandbox, sandbox

PASSWORD = seed.DEMO_PASSWORD
CALLBACK = "http://127.0.0.1:9/callback"
SECRETS = {
    name: f"{name}-0123456789abcdef0123456789abcdef"
    for name in ("svc-licence", "svc-case", "dept-SAMR", "dept-FIRE")
}


@dataclass
class Start:
    """An authorization request of demo-app and what it must not lose until the token request."""

    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    changes: dict[str, str | None] = field(default_factory=dict)

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    @property
    def url(self) -> str:
        fields = {
            "response_type": "code",
            "client_id": "demo-app",
            "redirect_uri": CALLBACK,
            "scope": "openid profile",
            "state": "s-1",
            "nonce": "n-1",
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            **self.changes,
        }
        sent = {name: value for name, value in fields.items() if value is not None}
        return f"/oauth2/authorize?{urlencode(sent)}"


class Browser:
    """Follows redirects inside identity-svc, fills in its forms, stops at the client's address."""

    def __init__(self, running: Running) -> None:
        transport = httpx.ASGITransport(app=running.app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://beam.test")
        self.page = httpx.Response(200)

    async def get(self, url: str) -> httpx.Response:
        self.page = await self._follow(await self.http.get(url))
        return self.page

    async def submit(self, **fields: str) -> httpx.Response:
        """Send the first form of the present page with its hidden fields and these."""
        action = re.search(
            r'<form method="post" action="([^"]+)".*?</form>', self.page.text, re.DOTALL
        )
        assert action, self.page.text
        hidden = {
            name: unescape(value)
            for name, value in re.findall(
                r'<input type="hidden" name="(\w+)" value="([^"]*)"', action[0]
            )
        }
        self.page = await self._follow(await self.http.post(action[1], data={**hidden, **fields}))
        return self.page

    async def _follow(self, answer: httpx.Response) -> httpx.Response:
        while answer.is_redirect and answer.headers["location"].startswith("/oauth2/"):
            answer = await self.http.get(answer.headers["location"])
        return answer

    async def sign_in(
        self, start: Start, login: str = "13800000001", password: str = PASSWORD
    ) -> dict[str, str]:
        """The parameters with which the client is called back."""
        await self.get(start.url)
        await self.submit(login=login, password=password)
        return called_back(self.page)


def called_back(answer: httpx.Response) -> dict[str, str]:
    location = answer.headers.get("location", "")
    assert location.startswith(CALLBACK), f"{answer.status_code} {location} {answer.text[:500]}"
    return dict(parse_qsl(urlsplit(location).query))


@dataclass
class House:
    """The running service, seen from a client."""

    running: Running
    _browsers: dict[str, Browser] = field(default_factory=dict)

    @property
    def http(self) -> httpx.AsyncClient:
        return self.running.client

    def browser(self) -> Browser:
        return Browser(self.running)

    async def code(self, start: Start, login: str = "13800000001") -> dict[str, str]:
        """What the client is called back with, from a browser that signed in once."""
        if login not in self._browsers:
            self._browsers[login] = self.browser()
            await self._browsers[login].sign_in(Start(), login)
        return called_back(await self._browsers[login].get(start.url))

    async def token(self, auth: Any = None, **fields: str) -> httpx.Response:
        sent: dict[str, Any] = {"auth": auth} if auth else {}
        return await self.http.post("/oauth2/token", data=fields, **sent)

    async def exchange(self, start: Start, code: str, **changes: str) -> httpx.Response:
        fields = {
            "grant_type": "authorization_code",
            "client_id": "demo-app",
            "redirect_uri": CALLBACK,
            "code": code,
            "code_verifier": start.verifier,
            **changes,
        }
        return await self.token(**{k: v for k, v in fields.items() if v})

    async def refresh(self, token: str, **changes: str) -> httpx.Response:
        fields = {"grant_type": "refresh_token", "client_id": "demo-app", "refresh_token": token}
        return await self.token(**{**fields, **changes})

    async def signed_in(self, login: str = "13800000001") -> dict[str, Any]:
        """The token answer of a whole code flow."""
        start = Start()
        back = await self.code(start, login)
        answer = await self.exchange(start, back["code"])
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def service(self, client_id: str = "svc-licence") -> dict[str, str]:
        answer = await self.token((client_id, SECRETS[client_id]), grant_type="client_credentials")
        assert answer.status_code == 200, answer.text
        return bearer(answer.json())


def bearer(answer: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {answer['access_token']}"}


@pytest.fixture(scope="session")
def secrets_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("identity") / "secrets.json"
    file.write_text(json.dumps(SECRETS))
    return file


@pytest.fixture(scope="module")
async def house(ground: Ground, nats_url: str, secrets_file: Path) -> AsyncIterator[House]:
    async with ground.service(
        "identity_svc", nats=nats_url, service_secrets_file=secrets_file, refresh_grace_seconds=60
    ) as running:
        await seed.seed(running.runtime)
        yield House(running)


@pytest.fixture(scope="module")
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    """The simulated outside world as a process of its own."""
    async with sandbox(tmp_path_factory.mktemp("outside")) as running:
        yield running


def reaching(outside: Sandbox) -> dict[str, Any]:
    """The settings with which identity reaches every party of the outside world."""
    parties = ("sms", "wechat_mini", "citizens", "enterprises")
    keys = {f"{name}_keys": outside.keys / name for name in parties}
    return keys | {f"{name}_base_url": outside.url for name in parties}


@pytest.fixture(scope="module")
async def open_house(
    ground: Ground, nats_url: str, secrets_file: Path, outside: Sandbox
) -> AsyncIterator[House]:
    """A House that reaches the outside world."""
    async with ground.service(
        "identity_svc",
        nats=nats_url,
        service_secrets_file=secrets_file,
        **reaching(outside),
    ) as running:
        await seed.seed(running.runtime)
        yield House(running)


async def messages(outside: Sandbox, phone: str) -> list[str]:
    """The codes that this telephone got, the latest last; a notice is an empty one."""
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as client:
        book = (await client.get("/_sim/sms/book", params={"phone": phone})).json()
    return [str(message["code"]) for message in book["messages"]]


async def last_code(outside: Sandbox, phone: str) -> str:
    """The code that this telephone got last."""
    return (await messages(outside, phone))[-1]


async def account_of(house: House, phone: str) -> Account | None:
    """The account with this number."""
    runtime = house.running.runtime
    async with runtime.sessions() as session:
        found: Account | None = await session.scalar(
            select(Account).where(Account.phone_index == runtime.vault.index(f"phone|{phone}"))
        )
    return found
