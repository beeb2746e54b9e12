"""The parts by themselves, and what we rely on inside uvicorn."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from gateway.heads import check_target
from gateway.limits import Limiter
from gateway.protocol import BeamProtocol
from gateway.refusals import REFUSALS
from gateway.table import ROUTES, Table

TABLE = Table([(route, route) for route in ROUTES])


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/oauth2/token", "identity"),
        ("/.well-known/jwks.json", "identity"),
        ("/v1/me", "identity"),
        ("/v1/me/profile", "identity"),
        ("/v1/me/access-log", "identity"),
        ("/v1/me/licences", "licence"),
        ("/v1/me/licences/l/present", "licence"),
        ("/v1/me/matters", "exchange"),
        ("/v1/me/", None),
        ("/v1/me/x/y/z/w", None),
        ("/v1/licence-types", "licence"),
        ("/v1/cases/c/materials/m", "case"),
        ("/callbacks/wechat/refund", "payment"),
        ("/callbacks/sf/secret", "logistics"),
        ("/callbacks", None),
        ("/callbacks/other", None),
        ("/v1", None),
        ("/", None),
        ("/internal/v1/accounts/a/holder", None),
        ("/metrics", None),
        ("/v1/ops", None),
        ("/v1/ops/payment/dead-letters", "payment"),
        ("/v1/ops/gateway", None),
        ("/_sim", None),
    ],
)
def test_the_table(path: str, service: str | None) -> None:
    route = TABLE.find(path.encode())
    assert (route.service if route else None) == service


@given(st.lists(st.sampled_from(["v1", "me", "items", "profile", "x", "", "oauth2"]), max_size=6))
def test_the_longest_prefix_wins(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    fits = [
        r for r in ROUTES if path == r.prefix or (not r.exact and path.startswith(r.prefix + "/"))
    ]
    best = max(fits, key=lambda r: len(r.prefix), default=None)
    assert TABLE.find(path.encode()) is best


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
