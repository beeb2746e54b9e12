"""The files of docs/scale.md are what the tools take: the overlay without its own PostgreSQL and
NATS, and the brokers' configuration."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from beam.environment import broker_accounts
from beam.secret_store import SecretStore
from kit.embedded.nats import binary

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def has_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return asked.returncode == 0


@pytest.mark.skipif(not has_compose(), reason="no docker compose on this machine")
def test_the_overlay_leaves_out_both_and_points_elsewhere(tmp_path: Path) -> None:
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets", ".env"))
    shutil.copy(DEPLOY / "env.example", tmp_path / "deploy" / ".env")
    env = {"POSTGRES_HOST": "pg.test:5433", "NATS_URL": "nats://a:4222,nats://b:4222"}
    files = ["-f", "compose.yaml", "-f", "compose.external.yaml"]
    told = subprocess.run(
        ["docker", "compose", *files, "config", "--format", "json"],
        cwd=tmp_path / "deploy",
        env=os.environ | env | {"NATS_REPLICAS": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(told.stdout)
    services = document["services"]
    assert not {"postgres", "nats"} & services.keys()
    assert "case" in services
    for name, service in services.items():
        assert not {"postgres", "nats"} & service.get("depends_on", {}).keys(), name
        for key, value in service.get("environment", {}).items():
            assert "nats://nats" not in (value or ""), (name, key)
            assert "@postgres" not in (value or ""), (name, key)
    case = services["case"]["environment"]
    assert case["BEAM_DATABASE_URL"] == "postgresql+asyncpg://case_svc@pg.test:5433/beam_case"
    assert case["BEAM_NATS_REPLICAS"] == "3"
    assert services["case"]["depends_on"].keys() == {"init"}
    assert not any(network.get("internal") for network in document["networks"].values())


def test_the_brokers_take_their_configuration(tmp_path: Path) -> None:
    store = SecretStore(tmp_path)
    (tmp_path / "accounts.conf").write_text(broker_accounts(store, {"case": ["case__paid"]}))
    shutil.copy(DEPLOY / "nats-cluster.conf", tmp_path)
    env = os.environ | {"NATS_NAME": "nats-1", "NATS_ROUTE_PASSWORD": "a-secret"}
    command = [str(binary()), "-t", "-c", str(tmp_path / "nats-cluster.conf")]
    command += ["--routes", "nats-route://route:a-secret@nats-2:6222"]
    good = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    del env["NATS_NAME"]
    bad = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert bad.returncode != 0
    assert "NATS_NAME" in bad.stderr


def test_a_password_of_the_brokers_begins_with_a_letter(tmp_path: Path) -> None:
    """As the file says how to make one: of hexadecimal digits alone, some servers take one in many
    for a number, here 04 times ten to the 0th, and do not start."""
    (tmp_path / "accounts.conf").touch()
    file = DEPLOY / "nats-cluster.conf"
    [recipe] = re.findall(r"PASSWORD=PASSWORD \(echo (.+?);", file.read_text())
    password = recipe.replace("$(openssl rand -hex 24)", "04e0de6113b9c5579f3eb65f")
    assert password[0].isalpha()
    shutil.copy(file, tmp_path)
    env = os.environ | {"NATS_NAME": "nats-1", "NATS_ROUTE_PASSWORD": password}
    command = [str(binary()), "-t", "-c", str(tmp_path / "nats-cluster.conf")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
