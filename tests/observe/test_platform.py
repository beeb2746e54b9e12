"""One thread through everything, seen from outside: traces, logs, figures, the operators' page."""

import contextlib
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from beam.journey.door import Door, forms_of
from beam.journey.stage import Failed, Stage, until
from gateway.ops import PlatformState
from gateway.pages import operators
from kit.clock import city_day, now
from kit.views import View

from .conftest import Seen

MOST_SERIES = 50
NAME = re.compile(r"beam_[a-z0-9]+(_[a-z0-9]+)*")
UNITS = ("_seconds", "_total", "_rows", "_events", "_info", "_bytes", "_connections", "_clients",
         "_findings", "_blocks", "_copies")  # fmt: skip
GAUGES_OF_STATE = {"connected", "open", "ok", "limit", "waiting"}
ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-|\b1[3-9]\d{9}\b|acc_|stf_")


@pytest.fixture
async def stage(seen: Seen) -> AsyncIterator[Stage]:
    stage = Stage(seen.place)
    yield stage
    await stage.close()


async def operator(stage: Stage) -> Door:
    return await stage.door("operator", "o01")


async def test_one_id_goes_with_a_request_through_two_services(seen: Seen, stage: Stage) -> None:
    """A draft: case-svc asks licence-svc what the citizen holds."""
    citizen = await stage.door("citizen", "13800000001")
    made = await citizen.call(
        "POST",
        "/v1/cases",
        body={"item_code": "A05", "region": "310115"},
        headers={"x-request-id": "one-id-for-all"},
        status=201,
    )
    assert made.headers["x-request-id"] == "one-id-for-all"

    async def both() -> Any:
        lines = [line for line in seen.logs() if line.get("request_id") == "one-id-for-all"]
        return lines if {"case", "licence"} <= {line["service"] for line in lines} else None

    lines = await until(both, "the id does not reach case and licence")
    assert len({line["trace_id"] for line in lines}) == 1


async def test_one_id_from_the_gateway_to_every_reaction_to_the_event(seen: Seen) -> None:
    [submitted] = [e for e in seen.events if e["type"] == "cn.beam.case.submitted.v1"]
    request_id = submitted["correlationid"]

    async def everywhere() -> Any:
        lines = [line for line in seen.logs() if line.get("request_id") == request_id]
        asked = {line["service"] for line in lines if line["message"] == "request"}
        heard = {line["service"] for line in lines if line["message"] == "handled an event"}
        doors = [
            span for span in seen.spans() if span["attributes"].get("beam.request_id") == request_id
        ]
        return (asked, heard, doors) if "exchange" in heard and doors else None

    asked, _, [door] = await until(everywhere, "the id does not reach exchange-svc")
    assert "case" in asked
    assert door["service"] == "gateway"
    assert submitted["traceparent"].split("-")[1] == door["traceId"]


async def test_one_trace_from_the_gateway_to_a_consumer_in_another_service(seen: Seen) -> None:
    """A payer's act in case-svc, its event, and what payment-svc did with it: one tree."""

    async def whole() -> Any:
        spans = seen.spans()
        by_id = {(s["traceId"], s["spanId"]): s for s in spans}
        for span in spans:
            if span["service"] != "payment" or "case.fee_due" not in span["name"]:
                continue
            chain = [span]
            while parent := by_id.get((span["traceId"], chain[-1].get("parentSpanId", ""))):
                chain.append(parent)
            if chain[-1]["service"] == "gateway":
                return chain
        return None

    chain = await until(whole, "no chain from payment's consumer back to the gateway")
    assert [span["service"] for span in chain] == ["payment", "case", "gateway"]
    assert [span["kind"] for span in chain] == [5, 2, 2]
    door = chain[-1]
    assert "parentSpanId" not in door
    assert door["attributes"]["peer.service"] == "case"
    for span in chain:
        assert int(span["endTimeUnixNano"]) >= int(span["startTimeUnixNano"]) > 0


async def test_spans_of_every_kind_and_no_broken_thread(seen: Seen, stage: Stage) -> None:
    await (await operator(stage)).call("GET", "/v1/ops", status=200)  # the gateway itself asks
    assert httpx.get(f"{seen.place.gateway}/find?q=x", trust_env=False).status_code == 200

    async def all_there() -> Any:
        spans = seen.spans()
        kinds = {(s["service"], s["kind"]) for s in spans}
        peers = {s["attributes"].get("peer.service") for s in spans if s["kind"] == 3}
        wanted = {("case", 2), ("case", 3), ("case", 4), ("payment", 5), ("helpdesk", 5)}
        return spans if wanted <= kinds and {"wechat", "sf", "licence"} <= peers else None

    await until(all_there, "spans are missing")
    begun = time.time_ns()

    def orphans() -> Counter[tuple[str, str]]:
        """What began since may lack its cause; what had begun is written in the end."""
        spans = [span for span in seen.spans() if int(span["startTimeUnixNano"]) < begun]
        ids = {(s["traceId"], s["spanId"]) for s in seen.spans()}
        return Counter(
            (s["service"], s["name"])
            for s in spans
            if "parentSpanId" in s and (s["traceId"], s["parentSpanId"]) not in ids
        )

    async def whole() -> bool:
        return not orphans()

    with contextlib.suppress(Failed):
        await until(whole, "threads are broken")
    assert not orphans()
    spans = seen.spans()
    assert len({(s["traceId"], s["spanId"]) for s in spans}) == len(spans)
    told = str([(s["name"], s["attributes"]) for s in spans])
    assert not re.search(r"\b1[3-9]\d{9}\b|acc_[a-z0-9]|张三|合欢路", told)


async def test_logs_are_json_and_hold_nobody(seen: Seen) -> None:
    lines = seen.logs()
    assert {"gateway", *seen.run["services"]} >= {line["service"] for line in lines}
    for line in lines:
        assert {"time", "level", "service", "message"} <= set(line), line
    told = "\n".join(map(str, lines))
    assert not re.search(r"\b1[3-9]\d{9}\b|张三|合欢路|Beam-demo-2026", told)


def test_figures_keep_to_the_conventions(seen: Seen) -> None:
    for program, text in seen.figures().items():
        for family in text_string_to_metric_families(text):
            if not family.name.startswith("beam_"):
                assert family.name.startswith(("process_", "python_")), family.name
                continue
            assert NAME.fullmatch(family.name), family.name
            last = family.name.rpartition("_")[2]
            known = family.name.endswith(UNITS) or last in GAUGES_OF_STATE
            assert known or family.type == "counter", (program, family.name)
            assert family.documentation
            assert len(family.samples) <= MOST_SERIES, (program, family.name, len(family.samples))
            for sample in family.samples:
                assert not ID.search(str(sample.labels)), sample
                assert not sample.name.endswith("_created")
                if program != "gateway":
                    assert sample.labels["service"] == program, sample


def test_the_business_of_the_journey_is_counted(seen: Seen) -> None:
    counted: Counter[str] = Counter()
    moved: Counter[tuple[str, str]] = Counter()
    for text in seen.figures().values():
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "beam_events_published_total":
                    counted[sample.labels["type"]] += int(sample.value)
                if sample.name == "beam_state_changes_total":
                    moved[sample.labels["thing"], sample.labels["action"]] += int(sample.value)
    for kind in (
        "case.submitted.v1",
        "payment.paid.v1",
        "logistics.shipment_delivered.v1",
        "helpdesk.rating_submitted.v1",
        "case.closed.v1",
    ):
        assert counted[kind] == 1, (kind, counted)
    assert moved["case", "submit"] == 1, moved
    assert counted["licence.issued.v1"] >= 1
    assert moved["licence_order", "issue"] == 1, moved


async def test_figures_are_not_to_be_had_through_the_gateway(seen: Seen, stage: Stage) -> None:
    door = await operator(stage)
    await door.call("GET", "/metrics", status=404)


async def test_the_operators_page(seen: Seen, stage: Stage) -> None:
    door = await operator(stage)

    async def settled() -> Any:
        page = await door.get("/v1/ops")
        return page if not page["not_ready"] and not page["unreachable"] else None

    page = await until(settled, "the platform is never whole")
    assert set(page["services"]) == set(seen.run["services"])
    assert (page["dead_letters"], page["failed_checks"]) == ({}, [])
    ledger = page["services"]["payment"]["checks"]["ledger"]
    assert (ledger["ok"], ledger["total_fen"]) == (True, 0)
    assert ledger["accounts"] >= 2
    for state in page["services"].values():
        assert state["versions"]["database"] == state["versions"]["code"]
    trail = await door.get("/v1/ops/case/staff-actions")
    done = {line["action"] for line in trail["items"]}
    assert any("accept" in action for action in done), done
    assert all(line["actor"].startswith("stf_") for line in trail["items"])


async def test_a_difference_with_the_channels_bill_is_seen_and_settled(
    seen: Seen, stage: Stage
) -> None:
    """From WeChat Pay's file over payment-svc's board to the operators' page, and away again."""
    door, day = await operator(stage), (city_day(now()) - timedelta(days=1)).isoformat()
    line = {"day": day, "out_trade_no": "of-nobody", "amount": 800}
    await stage.simulate("/_sim/wechat/bills/add", line)
    await stage.simulate("/_sim/wechat/bills/days", {"day": day, "state": "ready"})
    await door.post("/v1/reconciliations", {"channel": "wechat", "day": day}, status=201)

    async def told(state: str) -> Any:
        page = await door.get("/v1/ops")
        found = PlatformState.model_validate(page).reconciliation
        [last] = found.last if found and found.last else [None]
        return page if last and last.state == state else None

    page = await until(lambda: told("differs"), "the day is never compared")
    found = page["reconciliation"]
    assert (found["last"][0]["day"], found["last"][0]["delta_fen"]) == (day, 800)
    assert found["differences_open"]["types"]["missing_local"]["count"] == 1
    assert found["days_unreconciled"] == {"count": 1, "oldest_day": day}
    assert "我方没有的收款" in operators.render(page, View())
    run = found["last"][0]["id"]
    [gap] = (await door.get(f"/v1/reconciliations/{run}/differences"))["items"]
    await door.post(f"/v1/differences/{gap['id']}/settle", {"note": "另一系统的收款"}, status=200)
    page = await until(lambda: told("closed"), "the day is never closed")
    assert page["reconciliation"]["differences_open"]["count"] == 0
    assert page["reconciliation"]["days_unreconciled"]["count"] == 0


async def test_only_operators_see_it(seen: Seen, stage: Stage) -> None:
    citizen = await stage.door("citizen", "13800000001")
    await citizen.call("GET", "/v1/ops", status=403)
    counter = await stage.door("counter", "w01")
    await counter.call("GET", "/v1/ops", status=403)
    nobody = Door(seen.place.gateway, "nobody")
    await nobody.call("GET", "/v1/ops", status=401)
    await nobody.close()


async def test_a_pillar_that_is_down_is_named_and_costs_nothing_else(
    seen: Seen, stage: Stage
) -> None:
    door = await operator(stage)
    await door.get("/v1/ops")
    pid = seen.run["pids"]["helpdesk"]
    os.kill(pid, signal.SIGSTOP)
    try:
        page = await door.get("/v1/ops")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert page["unreachable"] == ["helpdesk"]
    assert set(page["services"]) == set(seen.run["services"]) - {"helpdesk"}

    async def back() -> Any:
        page = await door.get("/v1/ops")
        return not page["unreachable"]

    await until(back, "helpdesk does not come back")


async def test_a_person_sees_the_operators_page_in_a_browser(seen: Seen) -> None:
    """Signed in at identity, by forms alone; red lines come with what to do."""
    async with httpx.AsyncClient(
        base_url=seen.place.gateway, timeout=20, trust_env=False, follow_redirects=True
    ) as browser:
        answer = await browser.get("/ops")
        [form] = [f for f in forms_of(answer.text) if "password" in f.kinds.values()]
        names = {kind: name for name, kind in form.kinds.items()}
        login = next(n for n, k in form.kinds.items() if k in ("text", "tel") and n != "state")
        fields = {**form.fields, login: "o01", names["password"]: "Beam-demo-2026"}
        answer = await browser.post(urljoin(str(answer.url), form.action), data=fields)
        assert answer.status_code == 200, answer.text
        assert answer.url.path == "/ops"
        assert "运行状态" in answer.text
        assert "没有备份" in answer.text
        assert "SAMR" in answer.text or "没有在办" in answer.text
        assert "no-store" in answer.headers["cache-control"]
