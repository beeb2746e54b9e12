"""Runs programs side by side and compares them: alternating rounds, warm-up, medians of ratios."""

import contextlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import load

TESTED_CORE, LOAD_CORE = "0", "1"


@dataclass
class Result:
    """One line of the report. `ratio` is ours to the base; `at_least` says on which side of
    `target` it should lie. `ok` is None where it could not be measured (`note` says why)."""

    id: str
    name: str
    ratio: float | None
    target: float
    ok: bool | None
    at_least: bool = True
    note: str = ""
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One round of one variant."""

    rps: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_us: float = 0.0


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children so far; 0 off Linux."""
    ticks, todo = 0, [pid]
    while todo:
        pid = todo.pop()
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            # Its own time, and that of children that have ended.
            ticks += sum(map(int, fields[11:15]))
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass
class Started:
    """A program under test."""

    name: str
    process: subprocess.Popen[bytes]
    url: str

    def cpu_seconds(self) -> float:
        """User and system time of the program and its children so far; 0 off Linux."""
        return cpu_seconds(self.process.pid)


class Bench:
    """What a target gets: a folder, free ports, programs that are ended afterwards, rounds."""

    def __init__(self, *, quick: bool, profiles: Path | None = None) -> None:
        """`profiles`: a folder for what py-spy sees of the Python programs under test."""
        self.quick = quick
        self.profiles = profiles
        self.rounds = 3 if quick else 8
        self.seconds = 1
        self.results: list[Result] = []
        self.skipped: list[str] = []
        self.pinned = (os.cpu_count() or 1) >= 2 and shutil.which("taskset") is not None
        self._warming = False
        self._running: list[subprocess.Popen[bytes]] = []
        self._watching: list[subprocess.Popen[bytes]] = []
        self._folder = tempfile.TemporaryDirectory(prefix="beam-bench-")
        self.folder = Path(self._folder.name)

    def close(self) -> None:
        self.stop_all()
        self._folder.cleanup()

    def skip(self, what: str, why: str) -> None:
        self.skipped.append(f"{what}: {why}")
        print(f"— skipped {what}: {why}", flush=True)

    def add(
        self,
        id: str,
        name: str,
        ratio: float | None,
        target: float,
        *,
        at_least: bool = True,
        note: str = "",
        **more: Any,
    ) -> None:
        """Report one target."""
        ok: bool | None = None
        if ratio is not None:
            ok = ratio >= target if at_least else ratio <= target
        result = Result(id, name, ratio, target, ok, at_least, note, more)
        self.results.append(result)
        sign = "≥" if at_least else "≤"
        shown = "—" if ratio is None else f"{ratio:.3f}"
        mark = {True: "✓", False: "✗", None: "—"}[ok]
        print(f"{mark} {id:34} {shown:>8}  {sign} {target:<6g} {name}  {note}", flush=True)

    # Programs

    def free_port(self) -> int:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return int(sock.getsockname()[1])

    def start(
        self,
        name: str,
        command: Sequence[str],
        port: int | None,
        *,
        tested: bool | None,
        env: Mapping[str, str] | None = None,
    ) -> Started:
        """Start a program and wait until it listens on `port`, or, where that is None, until it
        prints something. What is `tested` gets one core, what is not the other; None: any."""
        pin = ["taskset", "-c", TESTED_CORE if tested else LOAD_CORE]
        if tested is None or not self.pinned:
            pin = []
        with (self.folder / f"{name}.out").open("wb") as out:
            process = subprocess.Popen(
                [*pin, *command],
                env={**os.environ, **(env or {})},
                cwd=Path(__file__).resolve().parent.parent,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._running.append(process)
        if self.profiles is not None and command[0] == sys.executable:
            self._watch(name, process.pid)
        end = time.monotonic() + 60
        while True:
            if port is None:
                if (self.folder / f"{name}.out").stat().st_size:
                    return Started(name, process, "")
            else:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        return Started(name, process, f"http://127.0.0.1:{port}")
            if process.poll() is not None or time.monotonic() > end:
                text = (self.folder / f"{name}.out").read_text()[-2000:]
                raise RuntimeError(f"{name} did not start:\n{text}")
            time.sleep(0.05)

    def _watch(self, name: str, pid: int) -> None:
        """Sample a program until it ends; the file opens in speedscope."""
        program = shutil.which("py-spy")
        if program is None or self.profiles is None:
            self.skip("profiles", "no py-spy on this machine (pip install py-spy)")
            self.profiles = None
            return
        self.profiles.mkdir(parents=True, exist_ok=True)
        file = self.profiles / f"{len(self._watching):02}-{name}.speedscope.json"
        record = [program, "record", "--format", "speedscope", "--output", str(file)]
        quiet = subprocess.DEVNULL
        self._watching.append(
            subprocess.Popen([*record, "--pid", str(pid)], stdout=quiet, stderr=quiet)
        )

    def stop_all(self) -> None:
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
        for watcher in self._watching:
            watcher.wait(60)  # it writes its file when the program has ended

    @contextlib.contextmanager
    def programs(self) -> Iterator[None]:
        """Ends what was started inside."""
        try:
            yield
        finally:
            self.stop_all()

    # Rounds

    def compare(
        self,
        variants: Sequence[Started],
        path: str,
        *,
        connections: int,
        headers: Mapping[str, str],
        body: str | None = None,
    ) -> dict[str, dict[str, float]]:
        """Load all variants in turn, see `alternate`. With a `body` the requests are POSTs, each
        with an Idempotency-Key of its own. An error of any variant fails the benchmark."""

        def fired(variant: Started) -> Callable[[], Sample]:
            return lambda: self.fire(
                variant, path, connections=connections, headers=headers, body=body
            )

        return self.alternate({variant.name: fired(variant) for variant in variants})

    def fire(
        self,
        variant: Started,
        path: str,
        *,
        connections: int,
        headers: Mapping[str, str],
        body: str | None = None,
    ) -> Sample:
        """One round of load on one program."""
        before = variant.cpu_seconds()
        got = load.fire(
            variant.url + path,
            connections=connections,
            seconds=self.seconds,
            headers=headers,
            body=body,
            pin=["taskset", "-c", LOAD_CORE] if self.pinned else [],
        )
        if got.errors or not (got.requests or self._warming):
            raise RuntimeError(f"{variant.name}: {got}")
        cpu = (variant.cpu_seconds() - before) / max(got.requests, 1) * 1e6
        return Sample(got.rps, got.p50_ms, got.p99_ms, cpu)

    def alternate(
        self, variants: Mapping[str, Callable[[], Sample]]
    ) -> dict[str, dict[str, float]]:
        """Measure all in turn, round after round, the first round to warm up. For each: median
        rps, p50, p99, CPU µs per request, and the medians over the rounds of its ratio to the
        first variant (`ratio` of rps, `cpu_ratio`: 1 is as cheap, `p99_ratio`)."""
        rows: dict[str, list[Sample]] = {name: [] for name in variants}
        for turn in range(-1, self.rounds):
            self._warming = turn < 0
            for name, measure in variants.items():
                sample = measure()
                if turn >= 0:
                    rows[name].append(sample)
        base = rows[next(iter(variants))]
        median = statistics.median
        return {
            name: {
                "rps": median(s.rps for s in own),
                "p50_ms": median(s.p50_ms for s in own),
                "p99_ms": median(s.p99_ms for s in own),
                "cpu_us": median(s.cpu_us for s in own),
                "ratio": median(a.rps / b.rps for a, b in zip(own, base, strict=True)),
                "cpu_ratio": median(
                    [b.cpu_us / a.cpu_us for a, b in zip(own, base, strict=True) if a.cpu_us]
                    or [0.0]
                ),
                "p99_ratio": median(
                    [a.p99_ms / b.p99_ms for a, b in zip(own, base, strict=True) if b.p99_ms]
                    or [0.0]
                ),
            }
            for name, own in rows.items()
        }

    def report(self) -> dict[str, Any]:
        """All that was found, for `--json`."""
        return {
            "targets": [asdict(result) for result in self.results],
            "skipped": self.skipped,
            "quick": self.quick,
            "cores": os.cpu_count(),
            "pinned": self.pinned,
            "loader": load.tool(),
            "load_average": os.getloadavg()[0],
        }
