"""A wrong setting names itself, before anything starts; no engine is needed to see it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from beam.installation import write_secrets

ROOT = Path(__file__).resolve().parents[2]
FOUND = """
import json, sys
sys.path.insert(0, sys.argv[1])
from engine import settings
from setting_kinds import wrong
print(json.dumps(list(wrong(settings()))))
"""


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """deploy/ after `make secrets`."""
    folder = tmp_path_factory.mktemp("host") / "deploy"
    shutil.copytree(ROOT / "deploy", folder, ignore=shutil.ignore_patterns("secrets", ".env"))
    write_secrets(folder / "secrets", ("SAMR",), outside=True)
    return folder


def wrong(deploy: Path, **changes: str) -> list[str]:
    """What is said of env.example with these changes, in English."""
    lines = (deploy / "env.example").read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in changes]
    text = "\n".join([*kept, *(f"{name}={value}" for name, value in changes.items())])
    (deploy / ".env").write_text(text)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", FOUND, str(deploy)],
        env={},
        text=True,
        capture_output=True,
        check=True,
    )
    return [en for _, en in json.loads(done.stdout)]


def test_the_example_is_right(deploy: Path):
    assert wrong(deploy) == []


def test_all_its_defaults_are_right(deploy: Path):
    told = re.findall(r"^#([A-Z_]+)=(.+)$", (deploy / "env.example").read_text(), re.M)
    assert len(told) > 25
    assert wrong(deploy, **dict(told)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BEAM_ISSUER", "http://one-beam.localhost:8443"),
        ("BEAM_ISSUER", "https://one-beam.localhost:8443/"),
        ("BEAM_DOMAIN", "https://one-beam.localhost"),
        ("HTTPS_PORT", "84430"),
        ("HTTPS_BIND", "localhost:8443"),
        ("BEAM_TLS", "internal"),
        ("BEAM_TLS", "tls /run/tls/absent.pem /run/tls/key.pem"),
        ("BEAM_ENVIRONMENT", "prod"),
        ("COMPOSE_PROFILES", "sandboxes"),
        ("WECHAT_BASE_URL", "sandbox:8000"),
        ("SMS_KEYS", "/run/keys/telegraph"),
        ("CITIZENS_KEYS", "deploy/secrets/outside/citizens"),
        ("BEAM_PARTNER_DEPTS", "SAMR;FIRE"),
        ("BEAM_PARTNER_DEPTS", "SAMR,"),
        ("OBSERVABILITY", "yes"),
        ("TRACES_RATIO", "10"),
        ("PROMETHEUS_KEEP", "a month"),
        ("POSTGRES_IMAGE", "postgres"),
        ("NATS_IMAGE", "nats:latest"),
        ("COMPOSE_PROJECT_NAME", "One Beam"),
        ("SERVICE_MEMORY", "256 MB"),
        ("SERVICE_CPUS", "two"),
        ("START_PERIOD", "2 minutes"),
        ("POSTGRES_SHARED_BUFFERS", "256m"),
        ("POSTGRES_UID", "postgres"),
        ("POSTGRES_CONNECTIONS", "100"),
        ("GATEWAY_RATE", "0"),
        ("EDGE_SUBNET", "172.28.241.1/24"),
        ("MESH_SUBNET", "172.28.241.0/25"),
        ("SERVICE_MEMROY", "256m"),
    ],
)
def test_a_wrong_one_names_itself(deploy: Path, name: str, value: str):
    said = wrong(deploy, **{name: value})
    assert said
    assert any(name in line for line in said), said


def test_a_slip_of_the_pen_is_told_what_was_meant(deploy: Path):
    assert wrong(deploy, SERVICE_MEMROY="256m") == [
        "SERVICE_MEMROY is no setting: did you mean SERVICE_MEMORY?"
    ]


def test_production_does_not_lead_to_the_sandbox(deploy: Path):
    said = wrong(deploy, BEAM_ENVIRONMENT="production", COMPOSE_PROFILES="")
    sandboxed = re.findall(r"^(\w+)=http://sandbox:", (deploy / "env.example").read_text(), re.M)
    assert sandboxed
    assert said == [f"{name} leads to the sandbox" for name in sandboxed]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("service_memory=512m", "service_memory"),
        ("export HTTPS_PORT=8443", "HTTPS_PORT"),
        ("HTTPS_PORT = 8443", "HTTPS_PORT"),
        ("HTTPS_PORT= 8443", "HTTPS_PORT"),
        ("HTTPS_PORT=8443   # the port", "HTTPS_PORT"),
        ("HTTPS_PORT: 8443", "HTTPS_PORT"),
        ("HTTPS_PORT=8443\nHTTPS_PORT=9443", "twice"),
    ],
)
def test_a_line_that_compose_reads_otherwise_names_itself(deploy: Path, line: str, named: str):
    text = (deploy / "env.example").read_text().replace("HTTPS_PORT=8443", line)
    (deploy / ".env").write_text(text)
    said = all_mistakes(deploy)
    assert any(named in x and "line" in x for x in said), said


def test_a_required_one_that_is_absent_names_itself(deploy: Path):
    text = (deploy / "env.example").read_text()
    (deploy / ".env").write_text(text.replace("BEAM_DOMAIN=", "BEAM_DOMIAN="))
    assert all_mistakes(deploy) == [
        "BEAM_DOMAIN is not set",
        "BEAM_DOMIAN is no setting: did you mean BEAM_DOMAIN?",
    ]
    (deploy / ".env").unlink()
    assert all_mistakes(deploy) == ["no deploy/.env: run make secrets"]


def all_mistakes(deploy: Path) -> list[str]:
    """As `wrong`, of deploy/.env as it lies there."""
    asked = FOUND.replace("import wrong", "import mistakes").replace(
        "wrong(settings())", "mistakes()"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", asked, str(deploy)],
        env={},
        text=True,
        capture_output=True,
        check=True,
    )
    return [en for _, en in json.loads(done.stdout)]


def test_secrets_that_do_not_fit_together_name_themselves(deploy: Path, tmp_path: Path):
    folder = tmp_path / "deploy"
    shutil.copytree(deploy, folder)
    (folder / ".env").write_text((folder / "env.example").read_text())
    (folder / "secrets" / "case.nats").chmod(0o644)
    (folder / "secrets" / "case.nats").write_text("x" * 43)
    account = folder / "secrets" / "outside" / "sf" / "account.json"
    account.chmod(0o644)
    account.write_text("{")
    done = subprocess.run(
        [sys.executable, str(folder / "host.py"), "preflight"],
        env={"PATH": str(tmp_path), "BEAM_ROOT": str(ROOT), "LC_ALL": "C.UTF-8"},
        text=True,
        capture_output=True,
        check=False,
    )
    assert "✗ case.nats 与 deploy/secrets/secrets.json 不一致" in done.stdout
    assert "✗ deploy/secrets/ 里不是 JSON:outside/sf/account.json" in done.stdout


def test_up_refuses_before_docker_is_asked(deploy: Path, tmp_path: Path):
    wrong(deploy, HTTPS_PORT="84430")
    done = subprocess.run(
        [sys.executable, str(deploy / "host.py"), "up"],
        env={"PATH": str(tmp_path), "BEAM_ROOT": str(ROOT), "LC_ALL": "C.UTF-8"},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert "HTTPS_PORT" in done.stderr
