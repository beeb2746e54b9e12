"""What the audit looks for, it finds: each of its rules once over a copy with one thing wrong.

The copy holds what the tests of the audit and of the compose file read. A test that stays silent
about the planted mistake fails here. (The rules for semgrep have examples of their own, the scan
for secrets its planted ones in test_secrets.)
"""

import importlib.util
import json
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .versions import ROOT

COPIED = (
    "Makefile",
    "pyproject.toml",
    ".dockerignore",
    "requirements.lock",
    "requirements-runtime.lock",
    "requirements-audit.lock",
    "deploy/compose.yaml",
    "deploy/Dockerfile",
    "deploy/env.example",
    "deploy/host.py",
    "deploy/observability/compose.observability.yaml",
    "docs/threat-model.md",
)
COMPOSE, IMAGE = "tests/deploy/test_compose_text.py", "tests/audit/test_image.py"
FLOORS, THREATS = "tests/audit/test_floors.py", "tests/audit/test_threat_model.py"
YAML, DOCKERFILE = "deploy/compose.yaml", "deploy/Dockerfile"
HARDENED = "test_every_service_is_hardened_and_bounded"
PORT = '    networks: [data]\n    ports: ["5432:5432"]\n'

PLANTED: dict[str, tuple[str, str | None, str, str, str, tuple[Any, ...]]] = {
    "a disk that can be written": (YAML, "read_only: true", "", COMPOSE, HARDENED, ("case",)),
    "capabilities": (YAML, "cap_drop: [ALL]", "cap_drop: []", COMPOSE, HARDENED, ("case",)),
    "new privileges": (YAML, '["no-new-privileges:true"]', "[]", COMPOSE, HARDENED, ("case",)),
    "user 0": (YAML, 'user: "10001:10001"', 'user: "0:0"', COMPOSE, HARDENED, ("case",)),
    "no limit": (YAML, ", pids: 200", "", COMPOSE, HARDENED, ("case",)),
    "privileged": (YAML, "  user: ", "  privileged: true\n  user: ", COMPOSE, HARDENED, ("case",)),
    "the engine's socket": (
        YAML,
        "tmpfs: [",
        'volumes: ["/var/run/docker.sock:/s"]\n  tmpfs: [',
        COMPOSE,
        HARDENED,
        ("case",),
    ),
    "an open database": (
        YAML,
        "    networks: [data]\n",
        PORT,
        COMPOSE,
        "test_only_the_proxy_publishes_a_port_and_only_on_loopback_unless_told",
        (),
    ),
    "a way out": (
        YAML,
        "    internal: true",
        "    internal: false",
        COMPOSE,
        "test_the_database_and_the_broker_have_no_way_out",
        (),
    ),
    "latest": (
        YAML,
        "postgres:17-alpine",
        "postgres:latest",
        COMPOSE,
        "test_images_have_a_tag_and_are_settings",
        (),
    ),
    "a password": (
        YAML,
        "POSTGRES_PASSWORD_FILE: /run/secrets/postgres_admin",
        "POSTGRES_PASSWORD: geheim",
        COMPOSE,
        "test_no_password_stands_in_the_file",
        (),
    ),
    "an old image": (
        YAML,
        "postgres:17-alpine",
        "postgres:16-alpine",
        FLOORS,
        "test_images",
        ({"name": "postgres", "floor": "17.12", "why": "planted"},),
    ),
    "an image nobody looked at": (
        YAML,
        "nats:2.12-alpine",
        "mosquitto:2.0",
        FLOORS,
        "test_every_foreign_image_has_a_row",
        (),
    ),
    "an old package": (
        "requirements.lock",
        "python-jose==3.5.0",
        "python-jose==3.3.0",
        FLOORS,
        "test_locked_versions",
        ("requirements.lock", {"name": "python-jose", "floor": "3.4.0", "why": "planted"}),
    ),
    "a low bound": (
        "pyproject.toml",
        "python-jose[cryptography]>=3.5",
        "python-jose[cryptography]>=3.3",
        FLOORS,
        "test_an_install_without_the_lock_gets_no_older_ones",
        (),
    ),
    "a package without its digest": (
        "requirements-audit.lock",
        "--hash=sha256:",
        "--hash=md5:",
        FLOORS,
        "test_the_lock_of_the_tools_names_no_place",
        (),
    ),
    "an image that runs as root": (
        DOCKERFILE,
        "USER 10001:10001",
        "USER root",
        IMAGE,
        "test_it_runs_as_nobody_known_and_never_goes_back",
        (),
    ),
    "a tool in the image": (
        DOCKERFILE,
        "WORKDIR /app",
        "RUN pip install gdb",
        IMAGE,
        "test_the_last_stage_installs_nothing",
        (),
    ),
    "packages without hashes": (
        DOCKERFILE,
        "--require-hashes ",
        "",
        IMAGE,
        "test_packages_come_by_hash_and_nothing_from_an_address",
        (),
    ),
    "a secret at build time": (
        DOCKERFILE,
        "ARG PIP_INDEX_URL=",
        "ARG PIP_TOKEN=x",
        IMAGE,
        "test_no_secret_is_given_at_build_time",
        (),
    ),
    "a secret that the build sees": (
        ".dockerignore",
        None,
        "",
        IMAGE,
        "test_the_build_never_sees",
        ("deploy/secrets/vault.json",),
    ),
    "a threat without a proof": (
        "docs/threat-model.md",
        "[kit/kit/guarded.py](../kit/kit/guarded.py)",
        "[kit/kit/gone.py](../kit/kit/gone.py)",
        THREATS,
        "test_every_named_file_exists",
        (),
    ),
}
"""What → (file, what stands there or None for all, what is put there, test, its arguments)."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in COPIED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "tests/audit", tmp_path / "tests/audit")
    (tmp_path / "tests/deploy").mkdir()
    shutil.copy(ROOT / COMPOSE, tmp_path / COMPOSE)
    return tmp_path


@pytest.fixture
def of(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Callable[..., Any]]:
    """A test of a file as it reads the copy."""

    def found(file: str, name: str) -> Callable[..., Any]:
        package = types.ModuleType("planted")
        package.__path__ = [str((copy / file).parent)]
        for known in [word for word in sys.modules if word.startswith("planted")]:
            monkeypatch.delitem(sys.modules, known)
        monkeypatch.setitem(sys.modules, "planted", package)
        spec = importlib.util.spec_from_file_location(f"planted.{Path(file).stem}", copy / file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        test: Callable[..., Any] = getattr(module, name)
        return test

    return found


@pytest.mark.parametrize("what", PLANTED)
def test_it_is_found(what: str, copy: Path, of: Callable[[str, str], Callable[..., Any]]) -> None:
    file, there, planted, test, name, arguments = PLANTED[what]
    if test != THREATS:  # its links lead out of the copy
        of(test, name)(*arguments)
    text = (copy / file).read_text("utf-8")
    assert there is None or there in text, "nothing to replace: say anew what is planted"
    (copy / file).write_text(planted if there is None else text.replace(there, planted), "utf-8")
    with pytest.raises(AssertionError):
        of(test, name)(*arguments)


BANDIT = ROOT / ".audit/bin/bandit"
HOLES = """
import hashlib, ssl, tempfile, yaml
import httpx, requests
def f(raw, url):
    yaml.load(raw)
    requests.get(url, timeout=3, verify=False)
    return hashlib.md5(raw), tempfile.mktemp(), exec(raw), ssl.wrap_socket()
"""


def test_ruff_finds_holes(tmp_path: Path) -> None:
    """With our own settings; what it leaves to other tools is said in pyproject.toml."""
    (tmp_path / "holes.py").write_text(HOLES + "    try:\n        f()\n    except:\n        pass\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = [sys.executable, "-m", "ruff", "check", "--output-format=json", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    codes = {finding["code"] for finding in json.loads(done.stdout)}
    assert {"S102", "S324", "S501", "S506", "S306", "E722"} <= codes


@pytest.mark.slow
@pytest.mark.skipif(not BANDIT.exists(), reason="bandit comes with `make audit`")
def test_bandit_finds_holes(tmp_path: Path) -> None:
    """With our own settings: what those leave out does not hide these."""
    (tmp_path / "holes.py").write_text(HOLES)
    command = [BANDIT, "-q", "-f", "json", "-c", ROOT / "tests/audit/bandit.yaml", "-r", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = {result["test_id"] for result in json.loads(done.stdout)["results"]}
    assert {"B102", "B306", "B324", "B501", "B506"} <= found


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npx") is None, reason="there is no npm here")
def test_dclint_finds_what_is_wrong(copy: Path) -> None:
    """The linter of others, where `make lint-compose` has fetched it; nothing is fetched here."""
    command = ["npx", "--offline", "--yes", "dclint@3.1.0", "-q"]
    if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("npm keeps no dclint here: `make lint-compose` fetches it")
    assert subprocess.run([*command, copy / YAML], check=False).returncode == 0
    twice = (copy / YAML).read_text("utf-8") + "\nservices: {}\n"
    (copy / YAML).write_text(twice, "utf-8")
    assert subprocess.run([*command, copy / YAML], check=False).returncode != 0


def test_every_test_that_bandit_leaves_out_has_its_reason() -> None:
    lines = (ROOT / "tests/audit/bandit.yaml").read_text("utf-8").splitlines()
    left_out = [line for line in lines if line.lstrip().startswith("- B")]
    assert left_out
    assert all(len(line.partition("#")[2]) > 8 or "as B" in line for line in left_out)
