"""PostgreSQL's own load tool, from the wheel of our embedded server: the limit of any service."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kit.embedded.postgres import install_folder


def find() -> Path | None:
    """The program, or None."""
    program = install_folder() / "bin" / "pgbench"
    return program if program.exists() else None


def rate(
    dsn: str, script: Path, *, clients: int, seconds: int, pin: Sequence[str] = ()
) -> tuple[float, float]:
    """Transactions a second and their mean time in ms. `script`: pgbench's language."""
    program = find()
    assert program is not None
    command = [*pin, str(program), "-n", "-M", "prepared", "-f", str(script)]
    command += ["-c", str(clients), "-j", "1", "-T", str(seconds), dsn]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    tps = re.search(r"tps = ([\d.]+)", out)
    latency = re.search(r"latency average = ([\d.]+) ms", out)
    assert tps is not None, out
    assert latency is not None, out
    return float(tps[1]), float(latency[1])
