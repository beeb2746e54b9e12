"""Talking to Docker and reading deploy/.env: what the host commands share. Standard library."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

DEPLOY = Path(__file__).resolve().parent
SECRETS = DEPLOY / "secrets"
ENV = DEPLOY / ".env"
SERVICES = (
    "identity", "catalog", "case", "licence", "payment", "logistics", "helpdesk", "exchange",
)  # fmt: skip


def command() -> list[str]:
    """`docker compose` with the files that this installation consists of."""
    files = ["compose.yaml"]
    if not servers_here():
        files.append("compose.external.yaml")
    if settings().get("OBSERVABILITY") == "on":
        files.append("observability/compose.observability.yaml")
    named = [word for file in files for word in ("-f", str(DEPLOY / file))]
    return ["docker", "compose", "--project-directory", str(DEPLOY), *named]


def servers_here() -> bool:
    """Whether PostgreSQL and NATS are containers of this installation."""
    return settings().get("SERVERS") != "elsewhere"


def compose(*arguments: str, capture: bool = False) -> str:
    """Run `docker compose` on our files; its output when captured. Ends us when it fails."""
    done = subprocess.run(
        [*command(), *arguments],
        check=False,
        text=True,
        stdout=subprocess.PIPE if capture else None,
    )
    if done.returncode != 0:
        fail(
            f"docker compose {arguments[0]} 未成功(退出码 {done.returncode}),原因见上。",
            f"docker compose {arguments[0]} failed ({done.returncode}), see above.",
        )
    return done.stdout or ""


def docker(*arguments: str) -> str | None:
    """Output of a docker command; None when it fails or there is no docker."""
    try:
        done = subprocess.run(["docker", *arguments], check=False, text=True, capture_output=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def fail(zh: str, en: str) -> NoReturn:
    print(f"✗ {zh}\n  {en}", file=sys.stderr)
    raise SystemExit(2)


def settings() -> dict[str, str]:
    """What deploy/.env says; the environment of the caller goes before it, as with compose."""
    found = {}
    if ENV.exists():
        for line in ENV.read_text("utf-8").splitlines():
            name, equals, value = line.partition("=")
            if equals and re.fullmatch(r"[A-Z_]+", name):
                found[name] = value.strip().strip("\"'")
    told = {*found, *known_settings()}
    return {**found, **{k: v for k, v in os.environ.items() if k in told}}


def known_settings() -> list[str]:
    """Every setting that there is: env.example explains them all."""
    file = DEPLOY / "env.example"
    text = file.read_text("utf-8") if file.exists() else ""
    return re.findall(r"^#?([A-Z_]+)=", text, re.M)
