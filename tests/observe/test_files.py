"""deploy/observability: rules and dashboards name what the programs really export."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.table import SERVICES

from . import promql
from .conftest import Seen

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "deploy" / "observability"
BOARDS = sorted((FILES / "dashboards").glob("*.json"))
ALERTS = list(promql.rules((FILES / "alerts.yml").read_text()))
OF_PROMETHEUS = {"job", "instance", "program"}
"""Labels that it adds itself, see prometheus.yml."""


def panels(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_text())["panels"]
    return found


def expressions() -> list[tuple[str, str]]:
    """(where, expression) of every rule and every panel."""
    found = [(f"alerts.yml {alert['alert']}", alert["expr"]) for alert in ALERTS]
    for file in BOARDS:
        for panel in panels(file):
            found += [(f"{file.name} {panel['title']}", t["expr"]) for t in panel["targets"]]
    return found


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_expression_is_one(where: str, expression: str) -> None:
    assert promql.check(expression).metrics, where


@pytest.mark.parametrize(
    "wrong",
    [
        "sum by (service (beam_x)",
        "rate(beam_x)",
        "rate(beam_x[5])",
        "histogram_quantile(beam_x, 0.9)",
        "beam_x[5m]",
        "beam_x > ",
        'beam_x{service="a}',
        "summ(beam_x)",
        "beam_x beam_y",
        "sum(1)",
        "beam_x and 1",
    ],
)
def test_the_checker_refuses_what_is_none(wrong: str) -> None:
    with pytest.raises(ValueError):
        promql.check(wrong)


def test_every_metric_and_label_named_is_exported(seen: Seen) -> None:
    exported: dict[str, set[str]] = {"up": set()}
    for text in seen.figures().values():
        for family in text_string_to_metric_families(text):
            names = {family.name, *(f"{family.name}{end}" for end in _ENDINGS[family.type])}
            for name in names:
                exported.setdefault(name, set())
            for sample in family.samples:
                exported.setdefault(sample.name, set()).update(sample.labels)
    for where, expression in expressions():
        for metric, labels in promql.check(expression).metrics.items():
            assert metric in exported, f"{where}: nobody exports {metric}"
            # What nothing has happened of yet has no labels either.
            if exported[metric]:
                unknown = labels - exported[metric] - OF_PROMETHEUS
                assert not unknown, f"{where}: {metric} has no label {unknown}"


_ENDINGS = {
    "counter": ["_total"],
    "histogram": ["_bucket", "_sum", "_count"],
    "summary": ["_sum", "_count"],
    "gauge": [],
    "info": ["_info"],
    "unknown": [],
}


def test_no_label_is_one_that_prometheus_adds(seen: Seen) -> None:
    for text in seen.figures().values():
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                assert not OF_PROMETHEUS & set(sample.labels), sample


def test_every_alert_says_what_and_how_bad_and_is_explained() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    names = [alert["alert"] for alert in ALERTS]
    assert len(set(names)) == len(names) >= 12
    for alert in ALERTS:
        assert re.fullmatch(r"\{severity: (page|ticket)\}", alert["labels"]), alert["alert"]
        assert "summary" in alert["annotations"], alert["alert"]
        assert re.fullmatch(r"\d+[mh]", alert.get("for", "1m")), alert["alert"]
        assert f"| `{alert['alert']}` |" in page, f"docs/operations.md: {alert['alert']}"


def test_boards_are_whole() -> None:
    sources = (FILES / "provisioning" / "datasources" / "beam.yml").read_text()
    for file in BOARDS:
        board = json.loads(file.read_text())
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert at["x"] + at["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells
            for target in panel["targets"]:
                assert f"uid: {target['datasource']['uid']}\n" in sources
                used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                given = set().union(*promql.check(target["expr"]).metrics.values())
                assert used <= given | OF_PROMETHEUS | {"service"}, panel["title"]
    assert len({json.loads(file.read_text())["uid"] for file in BOARDS}) == len(BOARDS) == 2


def test_all_services_are_scraped_and_traced() -> None:
    config = (FILES / "prometheus.yml").read_text()
    [names] = re.findall(r"names: \[(identity[^\]]*)\]", config)
    assert tuple(names.split(", ")) == SERVICES
    compose = (FILES / "compose.observability.yaml").read_text()
    for service in SERVICES:
        assert f"  {service}: *traced\n" in compose
    port = re.search(r"BEAM_GATEWAY_METRICS_PORT: (\d+)", compose)
    assert port is not None
    assert f"port: {port[1]}\n" in config


def test_nothing_is_published_beyond_the_host() -> None:
    compose = (FILES / "compose.observability.yaml").read_text()
    published = re.findall(r"^    ports: (.*)$", compose, re.MULTILINE)
    assert published == ['["127.0.0.1:${GRAFANA_PORT:-3000}:3000"]']
    images = re.findall(r"^    image: (.*)$", compose, re.MULTILINE)
    assert len(images) == 3
    assert all(re.search(r":v?\d+\.\d+\.\d+\}$", image) for image in images)
