"""`beam run`: starts everything, brings back what dies, tells what is wrong, leaves nothing."""

import json
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beam.programs import PROGRAMS
from kit.embedded import NatsServer, PostgresServer

from .conftest import Beam, alive, get, until

pytestmark = pytest.mark.slow


def _everything(run: dict[str, dict[str, int]]) -> list[int]:
    return list(run["pids"].values())


@pytest.fixture(scope="module")
def whole(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Beam, Any]]:
    """A run with everything in it, and its run.json, for tests that only look."""
    running = Beam(toys, tmp_path_factory.mktemp("whole"), BEAM_WECHAT_TIMEOUT="7").start()
    try:
        yield running, running.ready()
    finally:
        running.kill_rest()


def test_starts_everything(whole: tuple[Beam, Any]) -> None:
    running, run = whole
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


def test_each_program_is_told_only_what_is_its_own(whole: tuple[Beam, Any]) -> None:
    _, run = whole
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


def test_what_is_killed_comes_back_and_nothing_stays_at_the_end(beam: Callable[..., Beam]) -> None:
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
    assert str(running.base) in output
    assert not any(alive(pid) for pid in _everything(run))
    assert not (running.data / "run.json").exists()


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


def test_a_second_run_on_the_same_data_is_refused(whole: tuple[Beam, Any]) -> None:
    running, run = whole
    done = running.command("run")
    assert done.returncode == 2
    assert str(run["pids"]["supervisor"]) in done.stderr
    assert running.run_file() == run


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
    stopped = running.command("stop")
    assert stopped.returncode == 0
    assert running.process is not None
    assert running.process.wait() == 0
    assert running.command("run", "--only", "nosuch").returncode == 2


def test_the_broker_starts_with_the_rights_of_the_last_run_and_gets_those_of_this_one(
    beam: Callable[..., Beam],
) -> None:
    running = beam().start("--only", "case")
    running.ready()
    assert running.end()[0] == 0
    state, config = running.data / "state.json", running.data / "nats" / "nats.conf"
    known = json.loads(state.read_text())
    rights = config.read_text()
    assert "durables" in known
    state.write_text(json.dumps(known | {"durables": {"case": ["case__gone_by_now"]}}))
    running.start("--only", "case").ready()
    assert "gone_by_now" not in config.read_text()
    assert config.read_text() == rights
    assert json.loads(state.read_text()) == known
    assert running.end()[0] == 0


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
