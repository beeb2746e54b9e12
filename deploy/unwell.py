"""Which containers are not well, and what they say themselves: told when a start fails."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

from engine import command, docker

_LINES, _WIDTH = 3, 400


def unwell() -> Iterator[str]:
    """Lines about each container that does not do what it should: its state, what its health
    check last answered, the last lines of its log."""
    done = subprocess.run(
        [*command(), "ps", "-a", "--format", "json"], check=False, text=True, capture_output=True
    )
    for line in done.stdout.splitlines():
        one = json.loads(line)
        well = one["State"] == "running" and one.get("Health") in ("healthy", "")
        # One that was never started waits for another, which has a line of its own.
        if well or one["State"] == "created" or (one["State"], one["ExitCode"]) == ("exited", 0):
            continue
        state = one["State"] + (f" ({one['ExitCode']})" if one["ExitCode"] else "")
        yield f"— {one['Service']}: {one.get('Health') or state}"
        log = docker("inspect", "-f", "{{json .State.Health}}", one["Name"])
        checks = (json.loads(log or "null") or {}).get("Log") or [{}]
        if answer := checks[-1].get("Output", "").strip():
            yield f"    health: {answer[:_WIDTH]}"
        said = subprocess.run(
            ["docker", "logs", "--tail", str(_LINES), one["Name"]],
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        yield from (f"    {text[:_WIDTH]}" for text in said.stdout.splitlines() if text.strip())
