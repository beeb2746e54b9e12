"""Toy programs in place of the real ones: what is tested here is who starts and watches them."""

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from beam.programs import PROGRAMS
from kit.embedded.process import port_taken

TOY_MAIN = """
import json, os, types

def create_app(settings):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                if os.environ.get("BEAM_TOY_BREAKS") == __package__:
                    await send({"type": "lifespan.startup.failed", "message": "toy is broken"})
                    return
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = json.dumps({"package": __package__, "pid": os.getpid(), "env": settings.env})
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body.encode()})
    app.state = types.SimpleNamespace(runtime=settings)
    return app
"""
TOY_SETTINGS = """
import os

class Settings:
    def __init__(self):
        self.env = {k: v for k, v in os.environ.items() if k.startswith("BEAM_")}
"""
TOY_SERVER = """
import os
import uvicorn
from .main import create_app

def config(settings):
    port = int(os.environ["BEAM_GATEWAY_PORT"])
    return uvicorn.Config(create_app(settings), port=port, log_config=None, lifespan="on")
"""
TOY_SEED = """
async def seed(runtime):
    if "BEAM_TOY_SEEDS" in runtime.env:
        with open(runtime.env["BEAM_TOY_SEEDS"], "a") as file:
            file.write("seeded ")
"""
TOY_KEYS = """
def provision(folder):
    folder.mkdir(exist_ok=True)
    (folder / "key").write_text("made")
"""


@pytest.fixture(scope="session")
def toys() -> Iterator[Path]:
    """A folder with a toy in place of each program."""
    folder = Path(tempfile.mkdtemp(prefix="beam-toys-"))
    for program in PROGRAMS:
        package = folder / program.package
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "main.py").write_text(TOY_MAIN)
        (package / "settings.py").write_text(TOY_SETTINGS)
    (folder / "catalog_svc" / "seed.py").write_text(TOY_SEED)
    (folder / "gateway" / "server.py").write_text(TOY_SERVER)
    (folder / "sandbox" / "keys.py").write_text(TOY_KEYS)
    yield folder
    shutil.rmtree(folder)


def alive(pid: int) -> bool:
    """A zombie that nobody collects is dead, too."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something true; the test run's own time limit is the end."""
    end = time.monotonic() + 180
    while not (value := condition()):
        assert time.monotonic() < end, f"it never happened: {what}"
        time.sleep(0.05)
    return value


class Beam:
    """`beam run` as a process of its own."""

    def __init__(self, toys: Path, folder: Path, **environment: str) -> None:
        self.data = folder / "data"
        self.base, self._ports = _port_base()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("BEAM_")} | {
            "BEAM_DATA": str(self.data),
            "BEAM_PORT_BASE": str(self.base),
            "PYTHONPATH": os.pathsep.join([str(toys), *sys.path]),
            **environment,
        }
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str) -> "Beam":
        self.process = subprocess.Popen(
            [sys.executable, "-m", "beam", "run", *arguments],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "beam", *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )

    def ready(self) -> dict[str, Any]:
        def document() -> Any:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(self.process.communicate()[0])
            # A killed run leaves its file behind; the next one removes it, perhaps just now.
            with contextlib.suppress(FileNotFoundError):
                found = json.loads((self.data / "run.json").read_text())
                if found["pids"]["supervisor"] == self.process.pid:
                    return found
            return None

        found: dict[str, Any] = until(document, "run.json")
        return found

    def run_file(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.data / "run.json").read_text())
        return document

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        assert self.process is not None
        self.process.send_signal(number)
        output, _ = self.process.communicate()
        return self.process.returncode, output

    def kill_rest(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.communicate()
        Path(self._ports.name).unlink()
        self._ports.close()


def get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url) as answer:
        document: dict[str, Any] = json.load(answer)
        return document


def _port_base() -> tuple[int, TextIO]:
    """A base with 33 free ports, below those of `free_port`, and the lock that keeps it ours:
    several test runs may share a machine. The lock goes when the file is closed."""
    bases = list(range(8200, 11960, 40))
    random.shuffle(bases)
    for base in bases:
        lock = open(f"{tempfile.gettempdir()}/beam-test-ports-{base}", "w")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if not any(port_taken(base + n) for n in range(33)):
            return base, lock
        Path(lock.name).unlink()
        lock.close()
    raise AssertionError("no free ports for a test")


@pytest.fixture
def beam(toys: Path) -> Iterator[Callable[..., Beam]]:
    """Make Beams; whatever a test leaves running is ended."""
    folder = Path(tempfile.mkdtemp(prefix="beam-run-"))
    folder.chmod(0o755)
    made: list[Beam] = []

    def make(**environment: str) -> Beam:
        made.append(Beam(toys, folder, **environment))
        return made[-1]

    yield make
    for each in made:
        each.kill_rest()
    shutil.rmtree(folder)
