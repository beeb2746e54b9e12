"""Lines of the log on their way out."""

import io
import json
import logging
import sys
from pathlib import Path

import pytest

from kit.telemetry import BufferedLines, JsonLines

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
def test_who_logs_does_not_fail_when_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    handler, log, good = BufferedLines(), logging.getLogger("tests.logs"), io.StringIO()
    handler.setFormatter(JsonLines("toll"))
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with FULL.open("wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(full, write_through=True))
        log.warning("first")
        log.warning("second")
        handler.flush()
        monkeypatch.setattr(sys, "stdout", good)
        log.warning("third")
    told = [json.loads(line)["message"] for line in good.getvalue().splitlines()]
    assert told == ["third", "2 lines of the log could not be written, or only now"]
