"""Our configuration in Prometheus itself, where the program is installed: it finds every program,
evaluates every rule, and answers what every panel asks."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from beam.journey.stage import until

from .conftest import Seen, _free_port
from .test_files import FILES, expressions

pytestmark = pytest.mark.slow
FOUND_BY_NAME = re.compile(r"    dns_sd_configs:\n(?:      .*\n)+?(?=    \S)")


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here (Debian: the package prometheus)")
    return found


def configured(seen: Seen) -> str:
    """prometheus.yml with this platform's addresses in place of the names of containers, and with
    short intervals."""
    run = seen.run
    places = {
        "beam": {name: url.partition("//")[2] for name, url in run["services"].items()},
        "gateway": {"gateway": seen.gateway_figures.split("/")[2]},
    }
    text = (FILES / "prometheus.yml").read_text()
    text = text.replace("/etc/prometheus/alerts.yml", str(FILES / "alerts.yml"))
    text = re.sub(r"(scrape_interval|evaluation_interval): 15s", r"\1: 1s", text)
    head, *jobs = re.split(r"(?=  - job_name: )", text)
    made = [head]
    for job in jobs:
        name = re.match(r"  - job_name: (\w+)", job)
        assert name is not None
        targets = "".join(
            f"      - targets: ['{at}']\n        labels: {{__meta_dns_name: {program}}}\n"
            for program, at in places[name[1]].items()
        )
        job, count = FOUND_BY_NAME.subn(f"    static_configs:\n{targets}", job)
        assert count == 1
        made.append(job)
    return "".join(made)


@pytest.fixture(scope="module")
def prometheus(seen: Seen, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    binary = program("prometheus")
    folder: Path = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").write_text(configured(seen))
    address = f"127.0.0.1:{_free_port()}"
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://{address}", trust_env=False) as client:
            end = time.monotonic() + 60
            while asked(client, "status/runtimeinfo") is None:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, "Prometheus does not answer"
                time.sleep(0.1)
            yield client
    finally:
        process.terminate()
        process.wait()


def asked(client: httpx.Client, path: str, **parameters: str) -> Any:
    """`data` of an answer; None while it does not answer."""
    try:
        answer = client.get(f"/api/v1/{path}", params=parameters)
    except httpx.TransportError:
        return None
    assert answer.status_code in (200, 503), answer.text
    return answer.json()["data"] if answer.status_code == 200 else None


def test_its_own_checker_finds_nothing() -> None:
    checker = program("promtool")
    done = subprocess.run(
        [checker, "check", "rules", str(FILES / "alerts.yml")],
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_every_program_is_found_and_every_rule_evaluated(
    seen: Seen, prometheus: httpx.Client
) -> None:
    async def all_up() -> bool:
        targets = (asked(prometheus, "targets") or {}).get("activeTargets", [])
        return len(targets) == len(seen.run["services"]) + 1 and all(
            target["health"] == "up" for target in targets
        )

    await until(all_up, "Prometheus does not reach every program", seconds=60)
    programs = {t["labels"]["program"] for t in asked(prometheus, "targets")["activeTargets"]}
    assert programs == {*seen.run["services"], "gateway"}

    async def all_evaluated() -> bool:
        groups = asked(prometheus, "rules")["groups"]
        return bool(groups) and all(r["health"] != "unknown" for g in groups for r in g["rules"])

    await until(all_evaluated, "the rules are not evaluated", seconds=60)
    rules = [rule for group in asked(prometheus, "rules")["groups"] for rule in group["rules"]]
    assert [(r["name"], r.get("lastError")) for r in rules if r["health"] != "ok"] == []
    assert len(rules) >= 12
    # A platform that is well rings no bell.
    firing = [r["name"] for r in rules if r["state"] == "firing"]
    assert firing == []


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_expression_is_answered(
    where: str, expression: str, prometheus: httpx.Client
) -> None:
    assert asked(prometheus, "query", query=expression)["resultType"] in ("vector", "scalar")
