"""The random secrets of one deployment, made at its first start, in files only we can read."""

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kit.broker_config import department_of

from .place import write_whole
from .programs import GATEWAY, PROGRAMS, SERVICES
from .trouble import Trouble

DEMO_DEPARTMENTS = ("SAMR", "FIRE")
DEMO_SYSTEMS = (*DEMO_DEPARTMENTS, "SAMR-demo", "FIRE-demo")
"""Systems with an account at the broker: each department's own, and those that `beam demo` watches
with, so that it takes no event away from anybody."""

OPERATOR = "operator"
"""The broker's user of `beam broker`."""


class SecretStore:
    """`secrets.json`: passwords per program; `vault/<service>.json`: keys of field encryption."""

    def __init__(
        self,
        data: Path,
        systems: Sequence[str] = DEMO_SYSTEMS,
        *,
        may_write: bool = True,
    ) -> None:
        """`systems`: departments' systems, `SAMR` or `SAMR-archive`. What is missing is made; with
        `may_write` false that is a Trouble instead."""
        self._data, self._systems = data, list(systems)
        file = data / "secrets.json"
        known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        before = json.dumps(known)
        for part, names in (
            ("owner", [p.name for p in SERVICES]),
            ("database", [p.name for p in SERVICES]),
            ("nats", [*(p.name for p in PROGRAMS if p.kind != "sandbox"), OPERATOR]),
            ("client", [*(p.name for p in SERVICES), GATEWAY.name]),
            ("department", systems),
            ("partner", dict.fromkeys(department_of(code) for code in systems)),
        ):
            entries = known.setdefault(part, {})
            for name in names:
                entries.setdefault(name, secrets.token_urlsafe(32))
        if json.dumps(known) != before:
            if not may_write:
                raise Trouble(
                    "密钥文件不完整。请执行 make secrets(只补缺少的,不改已有的)。",
                    "The secrets are not complete. Run make secrets: it adds what is missing and "
                    "changes nothing that is there.",
                )
            write_whole(file, known)
        self._known = known

    def of(self, part: str, name: str) -> str:
        """`part` is owner | database | nats | client (by program), department (at the broker; by
        system) | partner (at the token endpoint; by department)."""
        return str(self._known[part][name])

    def database_passwords(self) -> dict[str, tuple[str, str]]:
        """Service → the passwords of its database's owner and of its runtime role."""
        return {p.name: (self.of("owner", p.name), self.of("database", p.name)) for p in SERVICES}

    @property
    def systems(self) -> list[str]:
        return self._systems

    def clients_file(self) -> Path:
        """JSON `{"svc-case": secret, "dept-SAMR": secret, …}`, for identity-svc alone."""
        file = self._data / "clients.json"
        wanted = {f"svc-{name}": secret for name, secret in self._known["client"].items()}
        for code in self._systems:
            dept = department_of(code)
            wanted[f"dept-{dept}"] = self.of("partner", dept)
        if not file.exists() or json.loads(file.read_text()) != wanted:
            write_whole(file, wanted)
        return file

    def vault_file(self, service: str) -> Path:
        """Each service has keys of its own: one that leaks opens nobody else's rows."""
        file = self._data / "vault" / f"{service}.json"
        if not file.exists():
            from kit.secrets import Vault

            file.parent.mkdir(mode=0o700, exist_ok=True)
            write_whole(file, Vault.new_document())
        return file
