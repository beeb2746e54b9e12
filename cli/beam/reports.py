"""Reports that the measuring commands leave, so that `beam figures` can put them together."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .place import write_whole

_COUNTED = ("faults", "violations", "cuts", "points")
"""What is added up over all runs: numbers, lengths of lists, points that were fired."""


def folder() -> Path:
    """`reports` in the data folder, or BEAM_REPORTS."""
    data = Path(os.environ.get("BEAM_DATA", ".data"))
    return Path(os.environ.get("BEAM_REPORTS", data / "reports"))


def keep(name: str, report: dict[str, Any]) -> Path:
    """The last report of this name, with the moment."""
    folder().mkdir(parents=True, exist_ok=True)
    file = folder() / f"{name}.json"
    at = datetime.now(UTC).isoformat(timespec="seconds")
    write_whole(file, {"name": name, "at": at, **report}, mode=0o644)
    counts = {key: _count(report.get(key)) for key in _COUNTED if key in report}
    with (folder() / "history.jsonl").open("a") as lines:
        lines.write(json.dumps({"name": name, "at": at, **counts}) + "\n")
    return file


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return len(value.get("fired", ()))
    return len(value) if isinstance(value, list) else int(value or 0)


def history(name: str) -> list[dict[str, Any]]:
    """Of every report of this name that was ever kept here: its counts, oldest first."""
    file = folder() / "history.jsonl"
    if not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line for line in lines if line["name"] == name]


def last(name: str) -> dict[str, Any] | None:
    """The last report of this name, None when there is none."""
    file = folder() / f"{name}.json"
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found
