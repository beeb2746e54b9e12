"""A whole platform that writes its spans to a file, after one journey."""

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from beam.demo import started
from beam.journey.play import APPROVAL, play
from beam.journey.stage import Durable, Place, Stage
from beam.journey.steps import APPROVED


@dataclass
class Seen:
    """The platform, the case that went through it, and what it left behind."""

    place: Place
    data: Path
    case_id: str
    events: list[dict[str, Any]]
    """Of the case, as the lead department's system got them."""
    gateway_figures: str

    @property
    def run(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.data / "run.json").read_text())
        return document

    def figures(self) -> dict[str, str]:
        """What each program exports now."""
        addresses = {name: f"{url}/metrics" for name, url in self.run["services"].items()}
        addresses["gateway"] = self.gateway_figures
        return {
            name: httpx.get(url, timeout=20, trust_env=False).raise_for_status().text
            for name, url in addresses.items()
        }

    def spans(self) -> list[dict[str, Any]]:
        """All spans so far, each with its `service`."""
        found = []
        for line in (self.data / "traces.jsonl").read_text().splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                name = _attributes(resource["resource"])["service.name"]
                for scope in resource["scopeSpans"]:
                    found += [
                        span | {"service": name, "attributes": _attributes(span)}
                        for span in scope["spans"]
                    ]
        return found

    def logs(self) -> list[dict[str, Any]]:
        """All lines of all programs that are JSON."""
        lines = []
        for file in (self.data / "logs").glob("*.log"):
            for line in file.read_text().splitlines():
                if line.startswith("{"):
                    lines.append(json.loads(line))
        return lines


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    return {a["key"]: next(iter(a["value"].values())) for a in holder["attributes"]}


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def _journey(place: Place) -> tuple[str, list[dict[str, Any]]]:
    stage = Stage(place)
    async with Durable(place.partners["SAMR"]) as lead, Durable(place.partners["FIRE"]) as fire:
        try:
            report = await play(stage, APPROVAL, APPROVED, lambda *_: None, lead, fire)
        finally:
            await stage.close()
        assert report.ok, report.steps[-1].result
        assert report.case_id is not None
        return report.case_id, lead.of_case(report.case_id)


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    data = Path(tmp_path_factory.mktemp("observed")) / "data"
    port = _free_port()
    with started(
        data,
        BEAM_TRACES=f"file://{data}/traces.jsonl",
        BEAM_GATEWAY_METRICS_PORT=str(port),
        BEAM_GATEWAY_RATE="0",
    ) as place:
        case_id, events = asyncio.run(_journey(place))
        yield Seen(place, data, case_id, events, f"http://127.0.0.1:{port}/metrics")
