"""Bad input at every endpoint of the running platform, through the gateway.

Whatever comes in: never a 500, a problem with code and request id, a pointer for what does not
validate, no echo of what was sent, no status that the published document does not name.
"""

import asyncio
import json
import re
import secrets
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import pytest

from .cast import ROLES, Cast
from .corpus import (
    CONTENT_TYPES,
    HEADERS,
    MARK,
    PATH_VALUES,
    QUERY_VALUES,
    RAW_BODIES,
    TOKENS,
    extra_bodies,
    field_bodies,
)
from .reference import Operation, Samples, hidden_operations, operations
from .story import Story

AT_ONCE = 12
NOT_PROBLEMS = {
    "token": "errors of the token endpoint are those of RFC 6749",
    "revoke": "as of the token endpoint (RFC 7009)",
    "push_request": "as of the token endpoint (RFC 9126)",
    "device_authorization": "as of the token endpoint (RFC 8628)",
    "introspect": "as of the token endpoint (RFC 7662)",
    "authorize": "a person's browser gets a page, a client its redirect",
    "authorize_by_form": "as authorize",
    "wechat_paid": "the channel reads {code, message}, and nobody else comes this way",
    "wechat_refunded": "as wechat_paid",
}
BY_THE_DOOR = {405, 408, 411, 414, 417, 431, 501, 505}
"""What any HTTP server may say to any message; not told of each operation."""
STRANGE = "zz"
T = TypeVar("T")


@dataclass(frozen=True)
class Shot:
    """One request, and a word on what is odd about it."""

    operation: Operation
    what: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content: bytes | None = None
    role: str = "nobody"


@dataclass
class Range:
    """Fires shots at the platform and keeps what is wrong with the answers."""

    cast: Cast
    headers: dict[str, dict[str, str]]
    wrong: list[tuple[str, str]] = field(default_factory=list)
    seen: Counter[int] = field(default_factory=Counter)

    def note(self, shot: Shot, sentence: str) -> None:
        where = f"{shot.operation.method} {shot.operation.template} as {shot.role}, {shot.what}"
        self.wrong.append((where, sentence))

    async def fire(self, shots: Iterable[Shot]) -> None:
        waiting = iter(shots)

        async def worker() -> None:
            for shot in waiting:
                await self._one(shot)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    async def _one(self, shot: Shot) -> None:
        service = shot.operation.service
        base = self.cast.run["services"][service] if service else self.cast.place.gateway
        headers = [
            (name.encode(), value.encode()) for name, value in self.headers[shot.role].items()
        ]
        sent = {name for name, _ in shot.headers}
        headers = [pair for pair in headers if pair[0] not in sent] + list(shot.headers)
        if shot.operation.creates and b"idempotency-key" not in sent:
            headers.append((b"idempotency-key", secrets.token_hex(12).encode()))
        try:
            answer = await self.cast.again(
                shot.operation.method, base + shot.path, headers=headers, content=shot.content
            )
        except httpx.HTTPError as exc:
            self.note(shot, f"no answer: {type(exc).__name__}")
            return
        self.seen[answer.status_code] += 1
        for sentence in faults(shot.operation, answer):
            self.note(shot, sentence)

    def judge(self, least: int) -> None:
        """Fails with what was wrong, most frequent kind first; or when hardly anything was sent."""
        kinds: dict[str, list[str]] = {}
        for where, sentence in self.wrong:
            kinds.setdefault(sentence, []).append(where)
        told = "\n".join(
            f"{len(places)}x {sentence}\n" + "\n".join(f"     {place}" for place in places[:4])
            for sentence, places in sorted(kinds.items(), key=lambda kind: -len(kind[1]))[:40]
        )
        assert not self.wrong, f"{len(self.wrong)} wrong answers of {dict(self.seen)}\n{told}"
        assert sum(self.seen.values()) >= least, self.seen


def faults(operation: Operation, answer: httpx.Response) -> Iterator[str]:
    """What is wrong with an answer to a bad request."""
    status, kind = answer.status_code, answer.headers.get("content-type", "")
    if status >= 500:
        yield f"{status} {answer.json().get('detail') if 'json' in kind else answer.text[:99]}"
        return
    if str(status) not in operation.spec["responses"] and status not in BY_THE_DOOR:
        yield f"{status} is not in the published document"
    if status < 400:
        return
    if MARK in repr(answer.headers.raw):
        yield "a header echoes what was sent"
    if operation.name in NOT_PROBLEMS:
        if MARK in answer.text:
            yield "the answer echoes what was sent"
        return
    if answer.headers.get("content-type") != "application/problem+json":
        yield f"{status} as {answer.headers.get('content-type')}"
        return
    problem = answer.json()
    if not re.fullmatch(r"[a-z][a-z0-9_]{2,40}", problem.get("code", "")):
        yield "no stable code"
    if problem.get("request_id") != answer.headers.get("x-request-id"):
        yield f"request_id {problem.get('request_id')} differs from the header"
    if problem.get("status") != status:
        yield "the status in the body is another one"
    # The address is the caller's own and no secret; nothing else of the request comes back.
    if MARK in json.dumps({**problem, "instance": ""}, ensure_ascii=False):
        yield "the problem echoes what was sent"
    if problem.get("code") == "invalid":
        pointers = [error.get("pointer", "") for error in problem.get("errors", [])]
        if not pointers or not all(pointer.startswith("/") for pointer in pointers):
            yield f"nothing points to what is wrong: {problem.get('detail')}"


GATES = (
    ("counter", re.compile(r"/(accept|refuse|hand-over)$")),
    (
        "reviewer",
        re.compile(r"/v1/tasks|/cases/\{case_id\}/decide|/licences/\{licence_id\}/status"),
    ),
    (
        "operator",
        re.compile(
            r"/v1/ops|/v1/clients|/licence-orders|/ledger|/refunds|/reconciliations|/differences|/partners|"
            r"/ratings/policies|/v1/events$|/suspend|/restore|/resume|/withdraw$|/drafts|/synonyms|/misses|^/v1/items$"
        ),
    ),
    ("supervisor", re.compile(r"/ratings/received")),
    ("service", re.compile(r"^/internal/")),
)


def fitting(operation: Operation) -> str:
    """A role that the operation's gate lets through, so that the input itself is looked at."""
    if not operation.signed_in:
        return "nobody"
    if operation.template.startswith("/v1/cases/{case_id}/withdraw"):
        return "owner"
    return next((role for role, where in GATES if where.search(operation.template)), "owner")


def ids_of(story: Story) -> dict[str, str]:
    return {
        **story.ids,
        "order_id": "lord_" + "0" * 32,
        "code": "A05",
        "number": "1",
        "year": "2026",
        "region": "310151",
        "term": STRANGE,
        "event_type": "case.submitted.v1",
        "n": "0",
        "secret": "x",
        "client_id": "cli_nobody",
        "passkey_id": "pky_nobodys",
        "export_id": "exp_nobody",
        "correction_id": "cor_nobody",
        "firm_id": "acc_nobody",
        "appointment_id": "apt_nobody",
        "mandate_id": "mnd_nobody",
        "key": "occupation",
        "letter_id": "dead_" + "0" * 32,
        "account_id": "acc_nobody",
        "reconciliation_id": "rec_nobody",
        "difference_id": "dif_nobody",
    }


def sample(operation: Operation, seed: int = 1) -> bytes | None:
    if operation.body is None:
        return None
    return json.dumps(Samples(operation, seed).of(operation.body)).encode()


JSON = ((b"content-type", b"application/json"),)


def turn(values: Sequence[T], of: str) -> T:
    """One of the values; which one depends on `of`, so that all get their turn somewhere."""
    return values[zlib.crc32(of.encode()) % len(values)]


def some(values: Sequence[T], of: str) -> Sequence[T]:
    """Every second value, the odd or the even ones."""
    return values[zlib.crc32(of.encode()) % 2 :: 2]


def path_shots(operation: Operation, ids: dict[str, str]) -> Iterator[Shot]:
    """One path parameter after another made odd."""
    for parameter in operation.parameters("path"):
        name = parameter["name"]
        for value in some(PATH_VALUES, operation.name + name):
            path = operation.path({**ids, name: "@@"}).replace("%40%40", value)
            yield Shot(operation, f"{name}={value[:30]}", path, JSON, sample(operation))


def query_shots(operation: Operation, ids: dict[str, str]) -> Iterator[Shot]:
    """One query parameter after another made odd, unknown ones, and thousands of them."""
    path = operation.path(ids)
    for parameter in operation.parameters("query"):
        name = parameter["name"]
        for value in some(QUERY_VALUES, operation.name + name):
            yield Shot(operation, f"?{name}={value[:30]}", f"{path}?{name}={value}")
        yield Shot(operation, f"?{name} twice", f"{path}?{name}={MARK}&{name}={MARK}")
    odds = ("unknown=" + MARK, MARK, "&&==&", "a=1&" * 1500, "access_token=" + MARK)
    for odd in (turn(odds, operation.name), turn(odds, operation.template)):
        yield Shot(operation, f"?{odd[:20]}", f"{path}?{odd}", JSON, sample(operation))


def header_shots(operation: Operation, ids: dict[str, str]) -> Iterator[Shot]:
    """One header after another made odd."""
    path, body = operation.path(ids), sample(operation)
    declared = {parameter["name"].lower() for parameter in operation.parameters("header")}
    for name, values in HEADERS.items():
        # A header that the operation knows gets all values; of the others each gets one.
        for value in values if name in declared else (turn(values, operation.name + name),):
            headers = (*JSON, (name.encode(), value))
            yield Shot(operation, f"{name}: {value[:30]!r}", path, headers, body)
    for token in (turn(TOKENS, operation.name), turn(TOKENS[::-1], operation.path(ids) + "x")):
        headers = (*JSON, (b"authorization", token))
        yield Shot(operation, f"authorization: {token[:30]!r}", path, headers, body)
    twice = ((b"authorization", b"Bearer a"), (b"authorization", b"Bearer " + MARK.encode()))
    yield Shot(operation, "two authorizations", path, (*JSON, *twice), body)


def raw_body_shots(operation: Operation, ids: dict[str, str]) -> Iterator[Shot]:
    """Bodies that are hardly JSON, and JSON under other names."""
    if operation.method == "GET":
        return
    path = operation.path(ids)
    every = tuple(RAW_BODIES.items())
    bodies = dict(some(every, path) if operation.body else some(every, path)[::4])
    for name, body in bodies.items():
        yield Shot(operation, name, path, JSON, body)
    for kind in CONTENT_TYPES if operation.body else ():
        headers = ((b"content-type", kind.encode()),)
        yield Shot(operation, f"sent as {kind}", path, headers, sample(operation) or b"{}")


def field_shots(operation: Operation, ids: dict[str, str]) -> Iterator[Shot]:
    """A fitting body with one field after another made odd, and with fields it must not have."""
    if operation.body is None:
        return
    path = operation.path(ids)
    fitted = Samples(operation, 3).of(operation.body)
    bodies = (*field_bodies(fitted), *extra_bodies(fitted))
    for body in bodies if len(bodies) < 150 else bodies[:: len(bodies) // 150 + 1]:
        yield Shot(operation, body[:300].decode(), path, JSON, body)


def random_shots(operation: Operation, ids: dict[str, str]) -> Iterator[Shot]:
    """Requests of the right shape with any content, as the document allows them."""
    path = operation.path(ids)
    for seed in range(12):
        samples = Samples(operation, seed)
        query = []
        for parameter in operation.parameters("query"):
            value = samples.of(parameter["schema"])
            if value is not None and samples.of({"type": "boolean"}):
                text = value if isinstance(value, str) else json.dumps(value)
                query.append(f"{parameter['name']}={quote(text, safe='')}")
        target = f"{path}?{'&'.join(query)}" if query else path
        if operation.body is None and not query:
            return
        body = sample(operation, seed)
        what = (body or b"").decode()[:300] or target
        yield Shot(operation, f"random {what}", target, (*JSON, (b"if-match", b'"1"')), body)


Kind = Callable[[Operation, dict[str, str]], Iterator[Shot]]
DANGEROUS = {
    "suspend_item": {"code": "Z99"},
    "withdraw_item": {"code": "Z99"},
    "open_item_draft": {"code": "Z99"},
    "remove_address": {"address_id": "addr_" + "0" * 32},
    "change_licence_status": {"licence_id": "lic_" + "0" * 32},
}
"""Operations that would do what they say to what other tests need: they get an id of nothing."""


@pytest.fixture
async def gallery(cast: Cast, story: Story) -> Range:
    return Range(cast, {role: cast.headers(role) for role in ROLES})


def aimed(kinds: Iterable[Kind], story: Story, role: str | None = None) -> Iterator[Shot]:
    """All shots of these kinds at all operations, by the role that fits each or by `role`."""
    ids = ids_of(story)
    for operation in (*operations(), *hidden_operations()):
        known = {**ids, **DANGEROUS.get(operation.name, {})}
        for kind in kinds:
            for shot in kind(operation, known):
                yield replace(shot, role=role or fitting(operation))


async def test_addresses_and_bodies(gallery: Range, story: Story) -> None:
    await gallery.fire(aimed((path_shots, query_shots, raw_body_shots), story))
    gallery.judge(least=800)


async def test_headers(gallery: Range, story: Story) -> None:
    await gallery.fire(aimed((header_shots,), story))
    gallery.judge(least=1000)


@pytest.mark.slow
async def test_fields(gallery: Range, story: Story) -> None:
    await gallery.fire(aimed((field_shots,), story))
    gallery.judge(least=1200)


@pytest.mark.slow
async def test_whatever_the_document_allows(gallery: Range, story: Story) -> None:
    await gallery.fire(aimed((random_shots,), story))
    gallery.judge(least=200)


def alike(role: str) -> tuple[Any, ...]:
    """What gates look at; department, region and items are looked at behind them."""
    claims = ROLES[role] or {}
    return claims.get("kind"), *claims.get("roles", ()), claims.get("acr")


FIRST_OF_ITS_KIND = {alike(role): role for role in reversed(ROLES)}
SIBLINGS_SHARE = 3
"""Those who pass the same gates share the operations: each takes one in so many."""


@pytest.mark.slow
@pytest.mark.parametrize("role", [role for role in ROLES if role not in ("owner", "operator")])
async def test_every_role(gallery: Range, story: Story, role: str) -> None:
    alone = FIRST_OF_ITS_KIND[alike(role)] == role
    place = list(ROLES).index(role)

    def thin(operation: Operation, ids: dict[str, str]) -> Iterator[Shot]:
        path = operation.path(ids)
        if not alone and (zlib.crc32(operation.name.encode()) + place) % SIBLINGS_SHARE:
            return
        if operation.body is not None:
            for body in (b"{}", b"[]", sample(operation, 5)):
                yield Shot(operation, "a thin body", path, JSON, body)
        elif operation.method == "GET":
            yield Shot(operation, "an odd query", f"{path}?limit=x&cursor={MARK}&x=%00")

    await gallery.fire(aimed((thin,), story, role))
    gallery.judge(least=150 if alone else 40)


async def test_nothing_reaches_the_logs(cast: Cast, gallery: Range, story: Story) -> None:
    """What the tests before sent, and a few more, is in no log of any program."""
    sent = [shot for shot in aimed((path_shots, query_shots), story) if MARK in shot.path]
    await gallery.fire(sent[::20])
    await asyncio.sleep(1.2)
    found = [name for name, text in cast.logs().items() if MARK in text]
    assert not found
    text = "".join(cast.logs().values())
    assert '"request"' in text, "the logs were not found"
    assert "unhandled error" not in text
