"""What a figure is, and how what it needs is measured."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .. import reports
from ..reports import Reports

ROOT = Path(__file__).resolve().parents[3]
Holds = Literal["yes", "no", "part", "not run"]
"""`part`: nothing speaks against it, but less was measured than the target asks for."""


@dataclass(frozen=True)
class Taken:
    """What a report says of a figure."""

    holds: Holds
    measured: str = ""
    why: str = ""
    """Why it does not hold, or was measured in part or not at all."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Where it was read, for its circumstances."""


def not_run(why: str) -> Taken:
    return Taken("not run", why=why)


def judged(
    measured: str, good: bool, report: Mapping[str, Any], *, part: str = "", why: str = ""
) -> Taken:
    """`part` says what is missing to the target's size; `why` why it does not hold."""
    if not good:
        return Taken("no", measured, why or part, report)
    return Taken("part" if part else "yes", measured, part, report)


@dataclass
class Probes:
    """Runs what a figure needs; each leaves a report in `folder`. `quick`: smaller ones."""

    folder: Path
    quick: bool
    tell: Callable[[str], None]
    _done: set[tuple[str, ...]] = field(default_factory=set)

    def size(self, quick: object, full: object) -> str:
        """How much of it is asked for."""
        return str(quick if self.quick else full)

    def _run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        self.tell(f"… python -m {' '.join(words)}")
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env=os.environ | {"BEAM_REPORTS": str(self.folder)} | settings,
            capture_output=True,
            text=True,
            check=False,
        )

    def faults(self, part: str, *words: str, times: int = 1) -> None:
        """`beam faults --only part …`, with another seed each time."""
        for seed in range(1, times + 1):
            self._once("beam", "faults", "--only", part, "--seed", str(seed), *words)

    def _once(self, *words: str) -> None:
        if words not in self._done:
            self._done.add(words)
            done = self._run(*words)
            if "Traceback" in done.stderr:
                self.tell(f"it broke off: {done.stderr[-800:]}")

    def planted(self) -> None:
        self._once("beam", "faults", "--planted")

    def bench(self, group: str) -> None:
        """One group of the benchmark, kept as `bench-GROUP`."""
        if ("bench", group) in self._done or not (ROOT / "bench").exists():
            return
        self._done.add(("bench", group))
        with tempfile.TemporaryDirectory(prefix="beam-figures-") as made:
            file = Path(made) / "bench.json"
            quick = ["--quick"] if self.quick else []
            done = self._run("bench", group, *quick, "--json", str(file))
            if file.exists():
                self.keep(f"bench-{group}", json.loads(file.read_text()))
            else:
                self.tell(done.stderr[-800:])

    def mutants(self) -> None:
        """Small changes of the code that tests have to notice; keeps `mutants`."""
        if (ROOT / "tests").exists():
            self._once("tests.mutants")

    def tests(self, name: str, *arguments: str, long: bool = False, **settings: str) -> None:
        """Tests, kept as `tests-NAME` with how many passed and failed."""
        if not (ROOT / "tests").exists():
            return
        which = "long" if long else "not long"
        words = ["pytest", "-q", "-p", "no:cacheprovider", "-rPf" if long else "-rf", "-m", which]
        began = time.monotonic()
        done = self._run(*words, *arguments, **settings)
        last = (done.stdout.strip().splitlines() or [""])[-1]
        counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", last)}
        self.keep(
            f"tests-{name}",
            {
                "passed": counts.get("passed", 0),
                "failed": sum(counts.get(word, 0) for word in ("failed", "error", "errors")),
                "skipped": counts.get("skipped", 0),
                "exit_code": done.returncode,
                "cases": sum(map(int, re.findall(r"^\w+: (\d+) cases$", done.stdout, re.M))),
                "failures": re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M),
                "seconds": round(time.monotonic() - began, 1),
            },
        )

    def keep(self, name: str, report: dict[str, Any]) -> None:
        reports.keep(name, report, self.folder)


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    number: int
    name: str
    target: str
    read: Callable[[Reports], Taken]
    probe: Callable[[Probes], None] | None = None
    """None: nobody can measure it yet, `read` says why."""
    quick: bool = True
    """Whether the probe has a form of a minute or two."""
