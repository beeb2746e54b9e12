"""Reports that the measuring commands leave, so that `beam figures` can put them together."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .place import write_whole


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
    return file


def last(name: str) -> dict[str, Any] | None:
    """The last report of this name, None when there is none."""
    file = folder() / f"{name}.json"
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found
