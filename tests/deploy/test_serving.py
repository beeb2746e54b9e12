"""One program as a process of its own: settings in files, draining, who is believed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from beam import setting_files
from beam.serve import Draining
from beam.trouble import Trouble
from kit.peers import Peers
from kit.settings import ServiceSettings

KNOWN = setting_files.names_of(ServiceSettings)


def test_a_setting_may_lie_in_a_file(tmp_path: Path):
    file = tmp_path / "nats"
    file.write_text("secret\n")
    environ = {"BEAM_NATS_PASSWORD_FILE": str(file), "BEAM_VAULT_KEY_FILE": "/vault.json"}
    setting_files.read(environ, KNOWN)
    assert environ["BEAM_NATS_PASSWORD"] == "secret"
    assert "BEAM_VAULT_KEY" not in environ, "a setting whose own name ends in _FILE is a path"


def test_the_database_password_joins_its_address(tmp_path: Path):
    file = tmp_path / "database"
    file.write_text("p@ss/w:rd#1\n")
    environ = {
        "BEAM_DATABASE_URL": "postgresql+asyncpg://case_svc@postgres:5432/beam_case",
        "BEAM_DATABASE_PASSWORD_FILE": str(file),
    }
    setting_files.read(environ, KNOWN)
    wanted = "postgresql+asyncpg://case_svc:p%40ss%2Fw%3Ard%231@postgres:5432/beam_case"
    assert environ["BEAM_DATABASE_URL"] == wanted
    assert "BEAM_DATABASE_PASSWORD" not in environ


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_file_that_gives_nothing_names_its_setting(tmp_path: Path, content: bytes | None):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Trouble, match="BEAM_SERVICE_SECRET_FILE"):
        setting_files.read({"BEAM_SERVICE_SECRET_FILE": str(file)}, KNOWN)


def test_a_setting_said_twice_is_refused(tmp_path: Path):
    file = tmp_path / "one"
    file.write_text("one")
    environ = {"BEAM_NATS_PASSWORD": "two", "BEAM_NATS_PASSWORD_FILE": str(file)}
    with pytest.raises(Trouble, match="BEAM_NATS_PASSWORD_FILE"):
        setting_files.read(environ, KNOWN)


def test_an_empty_setting_is_no_setting():
    environ = {"BEAM_PORT": "", "OTHER": ""}
    setting_files.read(environ, KNOWN)
    assert environ == {"OTHER": ""}


def served(**environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "beam", "serve", "case", "--lang", "en"],
        env={**os.environ, "BEAM_DATABASE_URL": "postgresql+asyncpg://a@127.0.0.1:9/x", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "content", [None, "garbage", "[]", "{}", '{"current": "k1", "keys": {"k1": "x"}, "index": "y"}']
)
def test_a_key_file_that_does_not_fit_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "vault.json"
    if content is not None:
        file.write_text(content)
    done = served(BEAM_VAULT_KEY_FILE=str(file))
    assert done.returncode == 2
    assert "BEAM_VAULT_KEY_FILE" in done.stderr
    assert str(file) in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"BEAM_ENVIRONMENT": "production"}, "BEAM_VAULT_KEY_FILE"),
        ({"BEAM_PORT": "abc"}, "BEAM_PORT"),
        ({"BEAM_PORT": "0"}, "BEAM_PORT"),
        ({"BEAM_DATABASE_URL": ""}, "BEAM_DATABASE_URL"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(environ: dict[str, str], named: str) -> None:
    done = served(**environ)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


async def test_who_drains_sends_his_callers_elsewhere():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        head = [(b"connection", b"keep-alive"), (b"x-own", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"done"})

    draining = Draining(app)
    transport = httpx.ASGITransport(app=draining)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        before = await client.get("/v1/items")
        assert before.headers["connection"] == "keep-alive"
        draining.on = True
        after = await client.get("/v1/items")
        assert (after.status_code, after.text, after.headers["x-own"]) == (200, "done", "1")
        assert after.headers.get_list("connection") == ["close"]
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["reasons"] == ["draining"]


def test_peers_are_addresses_and_networks():
    peers = Peers(["127.0.0.1", "10.4.0.0/16", "fd00::/8"])
    for address in ("127.0.0.1", "10.4.255.1", "fd00::1", "::ffff:10.4.0.9"):
        assert address in peers, address
    for address in ("127.0.0.2", "10.5.0.1", "unix", "", "::1", "10.4.0.1.example"):
        assert address not in peers, address
    assert "127.0.0.1" not in Peers([])
    with pytest.raises(ValueError, match=r"10\.4"):
        Peers(["10.4.0.1/16"])


def test_preflight_says_what_is_missing_on_a_bare_host(tmp_path: Path):
    host = Path(__file__).resolve().parents[2] / "deploy" / "host.py"
    copy = tmp_path / "deploy" / "host.py"
    copy.parent.mkdir()
    for file in host.parent.glob("*.py"):
        (copy.parent / file.name).write_bytes(file.read_bytes())
    done = subprocess.run(
        [sys.executable, str(copy), "preflight"],
        env={"PATH": str(tmp_path), "BEAM_ROOT": str(host.parents[1]), "LC_ALL": "C.UTF-8"},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("✗ Docker 没有应答") for line in lines)
    assert any(line.startswith("✗ 没有 deploy/.env,请执行 make secrets") for line in lines)


def test_the_host_script_needs_nothing_installed():
    """`python3 deploy/host.py` on a server: the standard library, and two files of ours."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(root / "deploy" / "host.py"), "--help"],
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())  # lines are broken as wide as the terminal is
    assert "no request lost" in said
    assert "exit codes" in said
