"""Reports that the measuring commands leave, so that `beam figures` can put them together."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from . import VERSION
from .place import write_whole

_ROOT = Path(__file__).resolve().parents[2]
_COUNTED = ("faults", "violations", "cuts", "points")
"""What is added up over all runs: numbers, lengths of lists, points that were fired."""


def folder() -> Path:
    """`reports` in the data folder, or BEAM_REPORTS."""
    data = Path(os.environ.get("BEAM_DATA", ".data"))
    return Path(os.environ.get("BEAM_REPORTS", data / "reports"))


@cache
def code() -> str:
    """The code that is measured: its commit (`+`: files differ from it), else the version."""
    if shutil.which("git") is None or not (_ROOT / ".git").exists():
        return VERSION
    git = ["git", "-C", str(_ROOT)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    differs = subprocess.run(
        [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{commit or VERSION}{'+' if differs else ''}"


def circumstances() -> dict[str, Any]:
    """When, on which code, and how busy the machine is."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": code(),
        "load_average": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
    }


def keep(name: str, report: dict[str, Any], where: Path | None = None) -> Path:
    """The last report of this name, with its circumstances; in `folder()` or `where`."""
    where = where or folder()
    where.mkdir(parents=True, exist_ok=True)
    file, around = where / f"{name}.json", circumstances()
    write_whole(file, {"name": name, **report, **around}, mode=0o644)
    counts = {key: _count(report.get(key)) for key in _COUNTED if key in report}
    with (where / "history.jsonl").open("a") as lines:
        lines.write(json.dumps({"name": name, **around, **counts}) + "\n")
    return file


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return len(value.get("fired", ()))
    return len(value) if isinstance(value, list) else int(value or 0)


@dataclass(frozen=True)
class Reports:
    """What was kept in a folder."""

    folder: Path

    def history(self, *names: str) -> list[dict[str, Any]]:
        """Of every report of these names that was ever kept here: its counts, oldest first."""
        file = self.folder / "history.jsonl"
        if not file.exists():
            return []
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        return [line for line in lines if line["name"] in names]

    def last(self, name: str) -> dict[str, Any] | None:
        """The last report of this name, None when there is none."""
        file = self.folder / f"{name}.json"
        if not file.exists():
            return None
        found: dict[str, Any] = json.loads(file.read_text())
        return found
