"""deploy/nats-health.sh ends a broker that no longer writes, once there is room, and no other."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "nats-health.sh"
GOOD = 'HTTP/1.0 200 OK\r\n\r\n{"status":"ok"}'
BAD = 'HTTP/1.0 503 Service Unavailable\r\n\r\n{"status":"error","error":"%s"}'
STUCK = BAD % "JetStream stream 'evt > EVENTS' write error: no space left on device"


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    """Stands for the broker's process, which the script may end."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def checked(folder: Path, server: subprocess.Popen[bytes], answer: str, free_kib: int) -> str:
    """The check's exit code and words, where the broker says `answer`."""
    for name, said in (("nc", answer), ("df", f"Filesystem\ntmpfs 9 9 {free_kib} 9% /")):
        (folder / f"{name}.said").write_text(said + "\n")
        (folder / name).write_text(f"#!/bin/sh\ncat '{folder}/{name}.said'\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", str(SCRIPT)],
        env={"PATH": f"{folder}:/usr/bin:/bin", "SERVER_PID": str(server.pid)},
        text=True,
        capture_output=True,
        check=False,
    )
    return f"{done.returncode} {done.stdout}"


def test_well(tmp_path: Path, server: subprocess.Popen[bytes]) -> None:
    assert checked(tmp_path, server, GOOD, 10**6) == "0 "
    assert server.poll() is None


def test_while_the_disk_is_full_it_only_says_so(
    tmp_path: Path, server: subprocess.Popen[bytes]
) -> None:
    said = checked(tmp_path, server, STUCK, 0)
    assert said.startswith("1 ")
    assert "no space left" in said
    assert server.poll() is None


def test_with_room_again_it_ends_the_server(
    tmp_path: Path, server: subprocess.Popen[bytes]
) -> None:
    assert "ending the server" in checked(tmp_path, server, STUCK, 10**6)
    assert server.wait(10) == -15


@pytest.mark.parametrize("answer", [BAD % "JetStream is not current with the meta leader", ""])
def test_any_other_trouble_is_none_of_its_business(
    tmp_path: Path, server: subprocess.Popen[bytes], answer: str
) -> None:
    assert checked(tmp_path, server, answer, 10**6).startswith("1 ")
    assert server.poll() is None
