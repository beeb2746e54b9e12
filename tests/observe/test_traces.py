"""Spans on their way out: off by default, to a file, to a collector, dropped and counted."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from kit import context, traces
from kit.http import open_client
from kit.testing import Ground, Running, serve


class Collector:
    """An OTLP/HTTP receiver of our own, on a real socket."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[bytes, bytes]] = []
        self.status = 200

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.headers.append(dict(scope["headers"]))
        if body:
            self.bodies.append(json.loads(body))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@contextlib.asynccontextmanager
async def tracing(tracer: traces.Tracer | None) -> AsyncIterator[None]:
    token = traces.tracer.set(tracer)
    try:
        yield
    finally:
        traces.tracer.reset(token)
        if tracer is not None:
            await tracer.close()


def count(service: str, fate: str) -> float:
    labels = {"service": service, "fate": fate}
    return REGISTRY.get_sample_value("beam_trace_spans_total", labels) or 0.0


async def test_spans_are_posted_as_otlp(tmp_path: Path) -> None:
    collector = Collector()
    async with (
        serve(collector, lifespan="off") as url,
        tracing(traces.Tracer("toll", f"{url}/v1/traces")),
    ):
        with (
            traces.span("outer", traces.SERVER, parent=None, http_response_status__code=200),
            pytest.raises(LookupError),
            traces.span("inner"),
        ):
            raise LookupError("not to be told")
    [body] = collector.bodies
    [resource] = body["resourceSpans"]
    assert resource["resource"]["attributes"][0] == {
        "key": "service.name",
        "value": {"stringValue": "toll"},
    }
    inner, outer = resource["scopeSpans"][0]["spans"]
    assert (inner["name"], outer["name"]) == ("inner", "outer")
    assert inner["parentSpanId"] == outer["spanId"]
    assert inner["traceId"] == outer["traceId"]
    assert "parentSpanId" not in outer
    assert inner["status"] == {"code": 2, "message": "LookupError"}
    assert outer["attributes"] == [
        {"key": "http.response.status_code", "value": {"intValue": "200"}}
    ]
    assert "not to be told" not in json.dumps(body)
    assert count("toll", "exported") == 2


async def test_a_collector_that_is_away_costs_nothing_but_its_spans() -> None:
    collector = Collector()
    collector.status = 503
    async with (
        serve(collector, lifespan="off") as url,
        tracing(traces.Tracer("lost", f"{url}/v1/traces")),
    ):
        with traces.span("work", parent=None):
            pass
    assert (count("lost", "dropped"), count("lost", "exported")) == (1, 0)


async def test_what_waits_has_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    async with tracing(traces.Tracer("many", file.as_uri())):
        for _ in range(traces.MOST_WAITING + 7):
            with traces.span("work", parent=None):
                pass
    assert count("many", "dropped") == 7
    assert count("many", "exported") == traces.MOST_WAITING


def test_all_services_keep_the_same_traces() -> None:
    one, other = traces.Tracer("a", "file:///x", 0.3), traces.Tracer("b", "file:///x", 0.3)
    whole = [context.new_traceparent() for _ in range(2000)]
    kept = [trace for trace in whole if one.wants(trace)]
    assert kept == [trace for trace in whole if other.wants(context.child_of(trace))]
    assert 400 < len(kept) < 800
    assert not one.wants(whole[0][:-2] + "00")  # the caller asked that it not be sampled
    assert not any(traces.Tracer("a", "file:///x", 0.0).wants(trace) for trace in whole)
    assert all(traces.Tracer("a", "file:///x").wants(trace) for trace in whole)


def test_nothing_is_sent_by_default_and_odd_targets_end_the_start() -> None:
    assert traces.open_tracer("a", "", 1.0) is None
    with pytest.raises(SystemExit, match="BEAM_TRACES"):
        traces.open_tracer("a", "collector:4318", 1.0)


async def test_a_call_passes_its_own_span_on_and_never_tells_strangers(tmp_path: Path) -> None:
    collector = Collector()
    async with (
        serve(collector, lifespan="off") as url,
        tracing(traces.Tracer("caller", (tmp_path / "t.jsonl").as_uri())),
        open_client(url, peer="friend") as client,
    ):
        with traces.span("work", parent=None) as work:
            ours = {"traceparent": context.child_of(work.traceparent)}
            await client.get("/a", headers=ours)
            await client.get("/b")
    first, second = collector.headers
    spans = [
        span
        for line in (tmp_path / "t.jsonl").read_text().splitlines()
        for span in json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    ]
    call = next(span for span in spans if span["name"] == "GET friend")
    assert first[b"traceparent"].decode() == f"00-{call['traceId']}-{call['spanId']}-01"
    assert b"traceparent" not in second


async def _answered(running: Running) -> float:
    """How many requests the service's own figures count; looking at them does not count."""
    text = (await running.client.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("beam_http_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def test_services_in_one_process_keep_apart(ground: Ground, nats_url: str) -> None:
    """BEAM_PROCS=1: each service's figures, spans and logs carry its own name."""
    async with (
        ground.service("helpdesk_svc", nats=nats_url) as helpdesk,
        ground.service("exchange_svc", nats=nats_url) as exchange,
    ):
        both = ((helpdesk, "helpdesk"), (exchange, "exchange"))
        before = {name: await _answered(running) for running, name in both}
        await asyncio.gather(
            helpdesk.client.get("/v1/ratings/criteria"), exchange.client.get("/v1/me/matters")
        )
        for running, name in both:
            await running.runtime.bus.sample()
            text = (await running.client.get("/metrics")).text
            assert f'service="{name}"' in text
            others = {"helpdesk", "exchange"} - {name}
            assert not any(f'service="{other}"' in text for other in others)
            assert await _answered(running) == before[name] + 1
            assert text.count("# TYPE beam_http_requests_total ") == 1
