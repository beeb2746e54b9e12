"""Runs schemathesis as a program against a platform, and reads what it says.

The callers are those of cast.py, and two who signed in to act for somebody else. Who asks is said
for the whole run or for each operation.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOOL = Path(sys.executable).with_name("schemathesis")
REFUSALS = [400, 401, 403, 404, 405, 406, 409, 412, 413, 414, 415, 422, 428, 429, 431]
ALWAYS = (
    "--checks=all",
    # fuzz_hooks.py says why this one is left out, and has another in its place.
    "--exclude-checks=positive_data_acceptance",
    "--no-shrink",
    "--continue-on-failure",
    "--warnings=off",
    "--suppress-health-check=all",
    "--wait-for-schema=60",
)
Headers = dict[str, str]
REPEATABLE = """
[phases.coverage.extra-data-sources]
responses = false
[phases.fuzzing.extra-data-sources]
responses = false
[phases.fuzzing.generation]
max-examples = 2
[phases.stateful.generation]
max-examples = 20
[phases.stateful.inference]
algorithms = []
"""
"""Few, and nothing learnt on the way: the same requests each time, and none about what others
need. Of `stateful` these are ways of some six steps along the links."""


@dataclass(frozen=True)
class Told:
    """What came of a run: how many requests, to how many of the operations, what failed."""

    cases: int
    operations: int
    failures: dict[str, int]
    """Check → how often."""
    output: str

    @property
    def summary(self) -> dict[str, Any]:
        return {"cases": self.cases, "operations": self.operations, "failures": self.failures}


def _inline(headers: Headers) -> str:
    """As a TOML table. Written `Authorization`: the check of missing sign-ins looks for this."""
    pairs = (f"{name.title()} = {value!r}" for name, value in headers.items())
    return f"{{{', '.join(pairs)}}}"


@dataclass(frozen=True)
class Ask:
    """How one operation is asked: by whom, with ids that replace the real ones, and whether the
    phase `coverage`, the longest one, leaves it out."""

    headers: Headers
    ids: Mapping[str, str]
    calm: bool

    def lines(self, operation: str) -> list[str]:
        told = ["[[operations]]", f"include-operation-id = {operation!r}"]
        told.append(f"headers = {_inline(self.headers)}")
        if self.ids:
            fixed = (f"{f'path.{name}'!r} = {value!r}" for name, value in self.ids.items())
            told.append(f"parameters = {{{', '.join(fixed)}}}")
        return [*told, "phases.coverage.enabled = false"] if self.calm else told


def settings(ids: Mapping[str, str], asks: Headers | Mapping[str, Ask]) -> str:
    """schemathesis.toml: half of the ids are real ones, so that calls get behind a 404.

    `asks`: the headers of the caller, or operation → how it is asked, the same each time.
    """
    lines = [
        f"hooks = {str(Path(__file__).with_name('fuzz_hooks.py'))!r}",
        "[checks.negative_data_rejection]",
        f"expected-statuses = {REFUSALS}",
        "[checks.missing_required_header]",
        f"expected-statuses = {REFUSALS}",
    ]
    for name, value in ids.items():
        lines += [f"[dictionaries.{name}]", f"values = [{value!r}]"]
    lines.append("[parameters]")
    lines += [f'"path.{name}" = {{dictionary = {name!r}, probability = 0.5}}' for name in ids]
    headers = {name: value for name, value in asks.items() if isinstance(value, str)}
    lines.insert(1, f"headers = {_inline(headers)}")
    single = {name: ask for name, ask in asks.items() if isinstance(ask, Ask)}
    if single:
        lines.append(REPEATABLE)
    for operation, ask in single.items():
        lines += ask.lines(operation)
    return "\n".join(lines) + "\n"


def run(
    gateway: str,
    folder: Path,
    ids: Mapping[str, str],
    asks: Headers | Mapping[str, Ask],
    *options: str,
) -> Told:
    """One run with these options beside ALWAYS; settings and report stay in `folder`."""
    folder.mkdir(exist_ok=True)
    config, report = folder / "schemathesis.toml", folder / "report.json"
    config.write_text(settings(ids, asks))
    command = [str(TOOL), "--config-file", str(config), "run", f"{gateway}/openapi.json"]
    command += [*ALWAYS, *options, "--report=json", f"--report-json-path={report}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    told = json.loads(report.read_text())
    failures = {
        check: int(count)
        for check, count in re.findall(r"^ +❌ (ST\d+ .*): (\d+)$", done.stdout, re.M)
    }
    assert bool(failures) == bool(done.returncode), done.stdout + done.stderr
    return Told(
        told["test_cases"]["generated"],
        told["operations"]["tested"],
        failures,
        done.stdout[-30_000:],
    )
