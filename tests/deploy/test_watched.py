"""OBSERVABILITY=on with containers: Prometheus finds every program and answers every panel after a
journey, spans of every program arrive at the receiver of traces.

Where an image is not here, something stands for it: Prometheus itself from this machine in an image
of ours, a receiver that counts spans for Jaeger, a page that is well for Grafana."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from beam.journey.stage import until
from kit.embedded import free_port

from .conftest import ROOT, Stack, configured, docker, engine_or_reason, source, take_down

pytestmark = pytest.mark.long
IMAGES = {
    "PROMETHEUS_IMAGE": "prom/prometheus:v3.5.0",
    "JAEGER_IMAGE": "jaegertracing/jaeger:2.9.0",
    "GRAFANA_IMAGE": "grafana/grafana:12.1.1",
}
PROGRAMS = {
    "identity", "catalog", "case", "licence", "payment", "logistics", "helpdesk", "exchange",
    "gateway",
}  # fmt: skip
NOTHING_TO_SHOW = {
    "服务错误率 · share of 5xx": "nothing failed",
    "任务失败 · failed jobs": "no job failed",
    "幂等重放 · answered again": "nobody asked twice of this service",
}
WGET = r"""#!/usr/local/bin/python -ISE
# Nothing imported but what it needs: it is a health check, too.
import socket, sys
host, _, path = sys.argv[-1].partition("//")[2].partition("/")
name, _, port = host.partition(":")
with socket.create_connection((name, int(port)), timeout=20) as door:
    door.sendall(f"GET /{path} HTTP/1.0\r\nhost: {host}\r\n\r\n".encode())
    said = b"".join(iter(lambda: door.recv(65536), b""))
head, _, body = said.partition(b"\r\n\r\n")
sys.stdout.write(body.decode())
sys.exit(b" 200 " not in head.split(b"\r\n")[0])
"""
RECEIVER = """
import collections, http.server, json
seen = collections.Counter()
class Door(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        for resource in json.loads(self.rfile.read(int(self.headers["content-length"])))[
            "resourceSpans"
        ]:
            name = [a["value"]["stringValue"] for a in resource["resource"]["attributes"]
                    if a["key"] == "service.name"][0]
            seen[name] += sum(len(s["spans"]) for s in resource["scopeSpans"])
        self.answer({})
    def do_GET(self):
        self.answer(seen)
    def answer(self, body):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("0.0.0.0", PORT), Door).serve_forever()
"""


def panels() -> Iterator[tuple[str, str]]:
    """(title, expression) of all dashboards."""
    for file in sorted((ROOT / "deploy" / "observability" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            yield from ((panel["title"], target["expr"]) for target in panel["targets"])


def stand_ins(folder: Path, mark: str) -> dict[str, str]:
    """Setting → image, for what is not here; built from the image of Python that is."""
    made = {}
    for setting, image in IMAGES.items():
        if docker("image", "inspect", "-f", "{{.Id}}", image, check=False):
            continue
        context = folder / setting.lower()
        context.mkdir()
        (context / "wget").write_text(WGET)
        lines = ["FROM python:3.12-slim", "COPY --chmod=755 wget /usr/bin/wget"]
        if setting == "PROMETHEUS_IMAGE":
            binary = shutil.which("prometheus")
            if binary is None:
                pytest.skip(f"neither {image} nor Debian's package prometheus is here")
            shutil.copy(binary, context / "prometheus")
            lines += [
                "COPY --chmod=755 prometheus /bin/prometheus",
                "RUN install -d -o 65534 -g 65534 /prometheus",
                "USER 65534:65534",
                'ENTRYPOINT ["/bin/prometheus"]',
            ]
        else:
            port = {"JAEGER_IMAGE": "4318", "GRAFANA_IMAGE": "3000"}[setting]
            (context / "receiver.py").write_text(RECEIVER.replace("PORT", port))
            lines += [
                "COPY receiver.py /receiver.py",
                "USER 10001:10001",
                'ENTRYPOINT ["python", "/receiver.py"]',
            ]
        (context / "Dockerfile").write_text("\n".join([*lines, ""]))
        made[setting] = f"beam-test-{setting.partition('_')[0].lower()}:{mark}"
        docker("build", "-q", "-t", made[setting], str(context))
    return made


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    reason = engine_or_reason()
    if reason is not None:
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("watched")
    source(root)
    stack = configured(root / "deploy", root)
    made: dict[str, str] = {}
    try:
        made = stand_ins(tmp_path_factory.mktemp("images"), stack.version)
        settings = {
            "OBSERVABILITY": "on",
            "TRACES_RATIO": "1",
            "GRAFANA_PORT": str(free_port()),
            **made,
        }
        with (stack.folder / ".env").open("a") as env:
            env.writelines(f"{name}={value}\n" for name, value in settings.items())
        stack.host("secrets")
        stack.host("preflight")
        stack.host("up")
        yield stack
    finally:
        stack.host("compose", "--profile", "*", "down", "-v", "-t", "10")
        take_down(stack)
        for image in made.values():
            docker("image", "rm", "-f", image, check=False)


def asked(stack: Stack, path: str) -> Any:
    """`data` of an answer of Prometheus, asked in its own container: it publishes no port."""
    address = f"http://127.0.0.1:9090/api/v1/{path}"
    words = ("exec", "-T", "prometheus", "wget", "-q", "-O", "-", address)
    return json.loads(stack.host("compose", *words))["data"]


async def test_every_program_is_found_also_when_there_are_two_of_it(watched: Stack):
    async def found(count: int) -> bool:
        targets = (await asyncio.to_thread(asked, watched, "targets"))["activeTargets"]
        up = [t["labels"]["program"] for t in targets if t["health"] == "up"]
        return len(targets) == len(up) == count and set(up) == PROGRAMS

    await until(lambda: found(9), "Prometheus does not reach every program", seconds=120)
    scale = ("up", "-d", "--no-recreate", "--wait", "--scale")
    watched.host("compose", *scale, "catalog=2", "catalog")
    await until(lambda: found(10), "the second one is not found", seconds=120)
    watched.host("compose", *scale, "catalog=1", "catalog")
    await until(lambda: found(9), "who is gone is still asked", seconds=120)


async def test_every_rule_is_evaluated_and_every_panel_answered_after_a_journey(watched: Stack):
    for _ in range(2):  # what happened once has no rate yet
        said = watched.host("compose", "--profile", "ops", "run", "--rm", "--no-deps", "smoke")
        assert "全部通过" in said
        await asyncio.sleep(35)
    groups = asked(watched, "rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 12
    assert [(r["name"], r.get("lastError")) for r in rules if r["health"] != "ok"] == []
    assert [r["name"] for r in rules if r["state"] == "firing"] == []
    answered, titles = set(), set()
    for title, expression in panels():
        titles.add(title)
        if asked(watched, f"query?query={quote(expression)}")["result"]:
            answered.add(title)
    silent = titles - answered
    assert silent <= set(NOTHING_TO_SHOW)


@pytest.mark.parametrize(
    "good",
    [
        "beam_gateway_certificate_end_timestamp_seconds > time()",
        "beam_disk_free_bytes > 0 and beam_disk_free_bytes < beam_disk_total_bytes",
        "beam_stream_copies == beam_stream_wanted_copies",
    ],
)
async def test_what_all_stand_on_is_watched(watched: Stack, good: str):
    async def told() -> Any:
        query = f"query?query={quote(good)}"
        return (await asyncio.to_thread(asked, watched, query))["result"]

    await until(told, f"it never comes true: {good}", seconds=120)


async def test_spans_of_every_program_arrive(watched: Stack):
    def counted() -> dict[str, int]:
        ask = "import urllib.request as u; print(u.urlopen('http://traces:4318/').read().decode())"
        found: dict[str, int] = json.loads(
            watched.host("compose", "exec", "-T", "gateway", "python", "-c", ask)
        )
        return found

    if docker("image", "inspect", "-f", "{{.Id}}", IMAGES["JAEGER_IMAGE"], check=False):
        pytest.skip("Jaeger itself is here: look at its own page")

    async def all_there() -> bool:
        return set(await asyncio.to_thread(counted)) == PROGRAMS

    await until(all_there, "somebody sends no spans", seconds=60)


def test_only_grafana_is_published_beside_the_door_and_on_loopback(watched: Stack):
    lines = watched.host("compose", "ps", "--format", "{{.Service}} {{.Ports}}").splitlines()
    shown = {
        line.partition(" ")[0]: port
        for line in lines
        for port in line.partition(" ")[2].split(", ")
        if "->" in port
    }
    assert set(shown) == {"proxy", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in shown.values())
