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
PARTS = ("database", "nats", "client")


def compose(*arguments: str, capture: bool = False) -> str:
    """Run `docker compose` on our file; its output when captured. Ends us when it fails."""
    command = ["docker", "compose", "--project-directory", str(DEPLOY), "-f",
               str(DEPLOY / "compose.yaml"), *arguments]  # fmt: skip
    done = subprocess.run(
        command, check=False, text=True, stdout=subprocess.PIPE if capture else None
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
    return {**found, **{k: v for k, v in os.environ.items() if k in found or k.startswith("BEAM_")}}
