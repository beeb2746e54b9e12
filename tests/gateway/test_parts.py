"""The parts by themselves, and what we rely on inside uvicorn."""

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from gateway.heads import check_target
from gateway.limits import Limiter
from gateway.matching import Table
from gateway.protocol import BeamProtocol
from gateway.refusals import REFUSALS
from gateway.table import RATES, ROUTES, Route

TABLE = Table((route, route) for route in ROUTES)


def found(method: str, path: str) -> str | None:
    place = TABLE.find(path.encode())
    if place is None:
        return None
    route = place.bound.get(method.encode())
    return route.path if route is not None else place.allow.decode()


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        ("POST /oauth2/token", "/oauth2/token"),
        ("GET /oauth2/token", "OPTIONS, POST"),
        ("GET /oauth2/other", None),
        ("GET /v1/me", "/v1/me"),
        ("HEAD /v1/me", "/v1/me"),
        ("PUT /v1/me", "GET, HEAD, OPTIONS"),
        ("PUT /v1/ratings/rating_1/submit", "OPTIONS, POST"),
        ("GET /v1/me/", None),
        ("GET /v1/me/licences", "/v1/me/licences"),
        ("GET /v1/items/A05", "/v1/items/{code}"),
        ("GET /v1/items/search/misses", "/v1/items/search/misses"),
        ("GET /v1/items/search", "/v1/items/{code}"),
        ("GET /v1/items/search/versions", "/v1/items/{code}/versions"),
        ("GET /v1/items//versions", None),
        ("GET /v1/items/", None),
        ("GET /v1/licences/jwks.json", "/v1/licences/jwks.json"),
        ("GET /v1/licences/jwks.jsonx", "/v1/licences/{licence_id}"),
        ("PUT /v1/cases/c/materials/m", "/v1/cases/{case_id}/materials/{slot_id}"),
        ("POST /callbacks/wechat/refund", "/callbacks/wechat/refund"),
        ("POST /callbacks/sf/secret", "/callbacks/sf/{secret}"),
        ("GET /callbacks", None),
        ("GET /v1", None),
        ("GET /", None),
        ("GET /internal/v1/accounts/a/holder", None),
        ("GET /metrics", None),
        ("GET /v1/ops", "/v1/ops"),
        ("GET /v1/ops/payment/dead-letters", "/v1/ops/payment/dead-letters"),
        ("GET /v1/ops/gateway", None),
        ("GET /_sim", None),
    ],
)
def test_the_table(operation: str, path: str | None) -> None:
    assert found(*operation.split(" ")) == path


_WORD = st.sampled_from(["a", "b", "{x}", "{y}"])


@given(st.lists(st.lists(_WORD, min_size=1, max_size=4), max_size=6), st.lists(_WORD, max_size=4))
def test_a_plain_word_comes_first_at_each_step(rows: list[list[str]], asked: list[str]) -> None:
    """Against the plain rule: of all paths that fit, the one with the earliest plain words; a
    method that it lacks is not taken from another."""
    routes = {re.sub(r"{.}", "{x}", "/" + "/".join(row)) for row in rows}
    methods = {path: ("POST", "PUT")[n % 2] for n, path in enumerate(sorted(routes))}
    bound = [(Route(method, path, ""), path) for path, method in methods.items()]
    place = Table(bound).find(("/" + "/".join(asked)).encode())
    fits = [
        path
        for path in routes
        if len(parts := path.split("/")[1:]) == len(asked)
        and all(p in ("{x}", a) for p, a in zip(parts, asked, strict=True))
    ]
    best = min(fits, key=lambda p: [part == "{x}" for part in p.split("/")], default=None)
    assert (place.bound if place else {}) == ({methods[best].encode(): best} if best else {})


def test_tighter_limits_are_there_and_tighter() -> None:
    rates = {rate.name: rate for rate in RATES}
    assert {route.rate for route in ROUTES} - {None} == set(rates)
    assert all(rate.rate < 1 and rate.burst < 1 for rate in RATES)


@given(st.binary(max_size=40))
def test_a_target_that_passes_means_one_thing(tail: bytes) -> None:
    from urllib.parse import unquote_to_bytes

    target = b"/v1/items/" + tail
    if check_target(target):
        plain = unquote_to_bytes(target.partition(b"?")[0])
        segments = plain.split(b"/")
        assert segments[:3] == [b"", b"v1", b"items"]
        assert not {b".", b".."} & set(segments)
        assert b"" not in segments[1:-1]
        assert not any(c < 32 or c == 127 or c == 92 for c in plain)


def test_all_refusals_speak_two_languages() -> None:
    for code, refusal in REFUSALS.items():
        for zh, en in (refusal.title, refusal.detail):
            assert any("\u4e00" <= c <= "\u9fff" for c in zh), code
            assert en.isascii(), code


def test_a_bucket_fills_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    limiter = Limiter(2.0, 4)
    assert [limiter.charge("a")[0] for _ in range(5)] == [0, 0, 0, 0, 1]
    assert limiter.charge("b")[0] == 0
    now = 101.0
    assert [limiter.charge("a")[0] for _ in range(3)] == [0, 0, 1]


def test_buckets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limiter, "MOST", 10)
    limiter = Limiter(0.001, 5)
    for i in range(100):
        limiter.charge(f"client {i}")
    assert len(limiter._buckets) <= 11


def test_no_rate_no_limit() -> None:
    assert Limiter(0, 1).charge("a") == (0, b"")


# What follows are assumptions about uvicorn's inside. When one of them fails, read the new
# uvicorn.protocols.http.httptools_impl before touching gateway/reading.py and protocol.py.


def test_uvicorn_protocol_has_the_attributes_that_we_use() -> None:
    source = inspect.getsource(HttpToolsProtocol.__init__)
    for name in ("parser", "app", "loop", "logger", "access_logger", "app_state", "server_state",
                 "connections", "tasks", "transport", "flow", "client", "server", "scheme",
                 "cycle", "url", "headers", "root_path", "asgi_version"):  # fmt: skip
        whole = inspect.getsource(HttpToolsProtocol)
        assert f"self.{name}" in source or f"self.{name}" in whole, name
    assert "HttpRequestParser(self)" in source
    for name in ("write_paused", "read_paused"):
        assert name in inspect.getsource(FlowControl.__init__)


def test_uvicorn_calls_what_we_override() -> None:
    theirs = {n for n, f in vars(HttpToolsProtocol).items() if inspect.isfunction(f)}
    overridden = {"connection_made", "connection_lost", "data_received", "eof_received",
                  "on_message_begin", "on_header", "on_headers_complete", "on_body",
                  "on_message_complete", "pause_writing", "resume_writing",
                  "shutdown"}  # fmt: skip
    assert overridden <= theirs
    ours = {
        n
        for c in (BeamProtocol, *BeamProtocol.__bases__)
        for n, f in vars(c).items()
        if inspect.isfunction(f) and n in theirs
    }
    assert ours == overridden
    assert {"_start_asgi_task", "on_url", "_unset_keepalive_if_required"} <= theirs


def test_uvicorn_builds_a_cycle_as_we_do() -> None:
    assert list(inspect.signature(RequestResponseCycle.__init__).parameters)[1:] == [
        "scope",
        "transport",
        "flow",
        "logger",
        "access_logger",
        "access_log",
        "default_headers",
        "message_event",
        "expect_100_continue",
        "keep_alive",
        "on_response",
    ]
    for name in ("keep_alive", "more_body", "response_complete"):
        assert f"self.{name}" in inspect.getsource(RequestResponseCycle.__init__)


def test_uvicorn_shuts_connections_down_as_we_expect() -> None:
    source = inspect.getsource(Server.shutdown)
    assert "connection.shutdown()" in source
    assert "self.server_state.connections" in inspect.getsource(Server._wait_tasks_to_complete)
    assert "app_state=self.lifespan.state" in inspect.getsource(Server.startup)
    assert hasattr(ServerState(), "total_requests")
