"""A service built twice, with the lane and without it, and all that can be asked of its routes."""

import json
import logging
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr

from kit import crash, lane, openapi
from kit.app import opened
from kit.auth import AUDIENCE, Gate
from kit.jose import SigningKey
from kit.secrets import Vault
from kit.settings import ServiceSettings

from .corpus import CONTENT_TYPES, HEADERS, QUERY_VALUES, RAW_BODIES, TOKENS

ISSUER = "http://beam.test"
FIGURES = ("/metrics", "/health/ready")
"""They tell of the moment, not of the request."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
Line = tuple[bytes, bytes]
JSON: Line = (b"content-type", b"application/json")
KEY: Line = (b"idempotency-key", b"one")


@dataclass(frozen=True)
class Shot:
    """One request; `chunks` is its body as it comes in."""

    method: str
    path: str
    query: bytes = b""
    headers: tuple[Line, ...] = ()
    chunks: tuple[bytes, ...] = (b"",)

    def having(self, *headers: Line) -> "Shot":
        named = {name for name, _ in headers}
        kept = (header for header in self.headers if header[0] not in named)
        return replace(self, headers=(*kept, *headers))

    def without(self, name: bytes) -> "Shot":
        return replace(self, headers=tuple(h for h in self.headers if h[0] != name))


@dataclass
class Answer:
    """All that a server and an operator get to see."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    broke_off: bool = False
    lines: list[Any] = field(default_factory=list)


class Lines(logging.Handler):
    """Access lines, without the time that they took."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = dict(getattr(record, "fields", {}))
        fields.pop("ms", None)
        self.seen.append((record.name, record.getMessage(), fields))


async def ask(app: FastAPI, shot: Shot, lines: Lines) -> Answer:
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": n < len(shot.chunks)}
        for n, chunk in enumerate(shot.chunks, 1)
    ]
    answer = Answer()

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answer.messages.append(message)

    raw = shot.path.encode()
    headers = [(b"host", b"service"), (b"x-request-id", b"request-1"), *shot.headers]
    lines.seen = answer.lines
    try:
        await app(
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "method": shot.method,
                "scheme": "http",
                "path": unquote(shot.path),
                "raw_path": raw,
                "query_string": shot.query,
                "root_path": "",
                "headers": headers,
                "client": ("127.0.0.1", 5000),
                "server": ("127.0.0.1", 80),
            },
            receive,
            send,
        )
    except Exception:  # noqa: BLE001 (whatever a server would have to live with)
        answer.broke_off = True
    return answer


@dataclass
class Twins:
    """One service built twice on one runtime, and what its callers need."""

    quick: FastAPI
    plain: FastAPI
    key: SigningKey
    lines: Lines
    unequal: list[str] = field(default_factory=list, repr=False)
    count: int = 0

    async def fire(self, shot: Shot) -> Answer:
        one = await ask(self.quick, shot, self.lines)
        other = await ask(self.plain, shot, self.lines)
        self.count += 1
        if one != other:
            self.unequal.append(f"{shot}\n  lane:    {one}\n  FastAPI: {other}"[:4000])
        return one

    def token(self, kind: str, **claims: Any) -> Line:
        now = int(time.time())
        facts: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": f"acc_{kind}",
            "jti": f"jti-{kind}",
        }
        facts |= {"iat": now, "exp": now + 600, "kind": kind, "acr": "L3", "dept": "SAMR"}
        return (b"authorization", b"Bearer " + self.key.sign(facts | claims, "at+jwt").encode())


async def twins(folder: Path, build: Any, package: str = "", **more: Any) -> AsyncIterator[Twins]:
    """`build`: settings → app; both apps share what is opened."""
    key = SigningKey(SigningKey.generate())
    (folder / "jwks.json").write_text(json.dumps({"keys": [key.public_jwk]}))
    (folder / "vault.json").write_text(json.dumps(Vault.new_document()))
    of = import_module(f"{package}.settings").Settings if package else ServiceSettings
    settings = of(
        environment="test",
        database_url=SecretStr("postgresql+asyncpg://nobody@127.0.0.1:1/none"),
        nats_url="nats://127.0.0.1:1",
        issuer=ISSUER,
        jwks_url=(folder / "jwks.json").as_uri(),
        vault_key_file=folder / "vault.json",
        **more,
    )
    quick, plain = build(settings), build(settings)
    found = [layer for layer in plain.user_middleware if layer.cls is lane.Lane]
    assert len(found) == 1, "taken out by its class"
    plain.user_middleware.remove(found[0])
    lines = Lines()
    loggers = [logging.getLogger(name) for name in ("access", "kit.telemetry", "kit.errors")]
    crash.arm("", "no_idempotency")  # nobody keeps keys here; what comes after them is compared
    async with opened(settings) as runtime:
        quick.state.runtime = plain.state.runtime = runtime
        for logger in loggers:
            logger.handlers[:], logger.propagate = [lines], False
        try:
            yield Twins(quick, plain, key, lines)
        finally:
            crash.arm("", "")
            for logger in loggers:
                logger.handlers[:], logger.propagate = [], True


def callers(pair: Twins, gate: Any) -> Iterator[Line]:
    """Who may come in, then who may not."""
    kinds = ("person", "enterprise", "staff", "partner", "service")
    wanted = gate.kinds if isinstance(gate, Gate) and gate.kinds else ("person",)
    roles = [gate.role] if isinstance(gate, Gate) and gate.role else ["operator"]
    for kind in (*wanted, *(k for k in kinds if k not in wanted)):
        yield pair.token(kind, roles=roles)
    yield pair.token("staff", roles=[])
    yield pair.token(wanted[0], roles=roles, acr="L0", jti="low")
    yield pair.token("person", exp=1, jti="old")


def shots(pair: Twins, context: Any, operation: dict[str, Any]) -> Iterator[Shot]:
    """The route as it is meant to be asked, then with one thing after another changed."""
    media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    body = json.dumps(media.get("example", {})).encode()
    gate = next((d.call for d in context.dependant.dependencies if isinstance(d.call, Gate)), None)
    tokens = list(callers(pair, gate))
    path = re.sub(r"\{\w+\}", "x1", context.path_format)
    for method in sorted(context.methods):
        plain = Shot(method, path, headers=(tokens[0], KEY))
        usual = plain
        if method != "GET":
            usual = replace(plain.having(JSON), chunks=(body,))
        yield usual
        yield from (usual.having(token) for token in tokens)
        yield usual.without(b"authorization")
        yield from (usual.having((b"authorization", value)) for value in TOKENS)
        yield usual.without(b"idempotency-key")
        yield usual.having((b"accept-language", b"en-GB"))
        for other in METHODS:
            yield replace(usual, method=other)
        for value in ("1", "-1", "%41%20b", "%E5%BC%A0", "a%00b", "a%0A", "a%2Fb", ".", "%C3%28"):
            yield replace(usual, path=re.sub(r"\{\w+\}", value, context.path_format))
        for ending in ("/", "//", "/x", "%0A", "?", ";a=1"):
            yield replace(usual, path=path + ending)
        names = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
        for name in (*names, "unknown"):
            for value in ("1", "0", "x", "", "a%00b", "%ED%A0%80", *QUERY_VALUES[-6:]):
                yield replace(usual, query=f"{name}={value}".encode())
            yield replace(usual, query=f"{name}=1&{name}=2&{name}=x&limit=5&limit=x".encode())
        yield replace(usual, query=b"=&&=%&limit")
        for header in ("if-match", "if-none-match", "idempotency-key", "accept", "cookie"):
            for sent in HEADERS[header]:
                yield usual.having((header.encode(), sent))
        for text in CONTENT_TYPES:
            yield usual.having((b"content-type", text.encode()))
        yield usual.without(b"content-type")
        for odd in RAW_BODIES.values():
            if len(odd) < 500_000:
                yield replace(usual.having(JSON), chunks=(odd,))
        for name in media.get("example", {}) if isinstance(media.get("example"), dict) else ():
            wrong: Any
            for wrong in (None, 1, "\x00", "\ud800", [], {"a": 1}):
                changed = json.dumps(media["example"] | {name: wrong}).encode()
                yield replace(usual, chunks=(changed,))
            less = {k: v for k, v in media["example"].items() if k != name}
            yield replace(usual, chunks=(json.dumps(less | {"more": 1}).encode(),))
        yield replace(usual, chunks=(body[:3], body[3:]))
        yield usual.having((b"content-length", b"99999999"))
        yield replace(usual, chunks=(b"x" * 600_000, b"x" * 600_000) * 12)


async def compare(pair: Twins, every: int) -> None:
    """Fire at all routes; of what is odd each route gets another one in `every`."""
    document = openapi.build(pair.quick)
    for turn, context in enumerate(iter_route_contexts(pair.quick.routes)):
        if context.path_format in FIGURES:
            continue
        operations = document["paths"].get(context.path_format, {})
        for method in context.methods or ():
            fired = shots(pair, context, operations.get(method.lower(), {}))
            for n, shot in enumerate(fired):
                if n == 0 or (n + turn) % every == 0:
                    await pair.fire(shot)
    for path in ("", "/", "/v1", "/nothing", "/v1/nothing/x", "//v1/ops", "/health/live/"):
        for method in METHODS:
            await pair.fire(Shot(method, path))
    if pair.unequal:
        pytest.fail("\n".join([*pair.unequal[:5], f"{len(pair.unequal)} of {pair.count}"]))
