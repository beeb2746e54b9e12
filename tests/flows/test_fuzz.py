"""schemathesis against the whole platform, through the gateway, as several kinds of callers.

From the merged OpenAPI it makes requests that fit and requests that do not, follows the links from
what was created, and holds every answer against the document: no 5xx, no undeclared status, type,
header or shape, nothing malformed taken, no missing sign-in overlooked, nothing used after its
end. `make fuzz` runs it; BEAM_FUZZ_SECONDS is the time for each caller.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .cast import Cast
from .story import Story

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / ".audit/bin/schemathesis"
SECONDS = int(os.environ.get("BEAM_FUZZ_SECONDS", "60"))
REFUSALS = [400, 401, 403, 404, 405, 406, 409, 412, 413, 414, 415, 422, 428, 429, 431]
CALLERS = ("owner", "reviewer", "operator", "counter", "partner", "nobody")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not TOOL.exists(), reason="schemathesis comes with `make fuzz`"),
]


def settings(headers: dict[str, str], ids: dict[str, str]) -> str:
    """schemathesis.toml: half of the ids are real ones, so that calls get behind a 404."""
    lines = [
        f"hooks = {str(Path(__file__).with_name('fuzz_hooks.py'))!r}",
        "[checks.negative_data_rejection]",
        f"expected-statuses = {REFUSALS}",
        "[checks.missing_required_header]",
        f"expected-statuses = {REFUSALS}",
    ]
    if headers:
        lines += ["[headers]", *(f"{name} = {value!r}" for name, value in headers.items())]
    for name, value in ids.items():
        lines += [f"[dictionaries.{name}]", f"values = [{value!r}]"]
    lines.append("[parameters]")
    lines += [f'"path.{name}" = {{dictionary = {name!r}, probability = 0.5}}' for name in ids]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("caller", CALLERS)
def test_fuzz(caller: str, cast: Cast, story: Story, tmp_path: Path) -> None:
    cast.owner = story.account_id
    (tmp_path / "schemathesis.toml").write_text(settings(cast.headers(caller), story.ids))
    report = tmp_path / "report.json"
    command: list[Any] = [TOOL, "--config-file", tmp_path / "schemathesis.toml", "run"]
    command += [f"{cast.place.gateway}/openapi.json", "--workers=2", f"--max-time={SECONDS}"]
    # fuzz_hooks.py says why one is left out, and has another in its place.
    command += ["--checks=all", "--exclude-checks=positive_data_acceptance"]
    command += ["--phases=examples,coverage,fuzzing,stateful", "--no-shrink"]
    command += ["--continue-on-failure", "--warnings=off", "--report=json"]
    command += [f"--report-json-path={report}", "--suppress-health-check=all"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    told = json.loads(report.read_text())
    print(f"{caller}: {told['test_cases']['generated']} cases")
    assert done.returncode == 0, done.stdout[-30_000:]
    assert told["operations"]["tested"] == told["operations"]["total"] > 140
    assert told["test_cases"]["generated"] > told["operations"]["total"]
