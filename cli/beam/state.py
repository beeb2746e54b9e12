"""What this data folder already has: migrated databases, demo data, demo accounts."""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import asyncpg

from .place import write_whole

DEMO_PASSWORD = "Beam-demo-2026"
SECONDS = 60
"""A machine that starts everything at once, beside other work, may take long to answer."""
_DEMO = (
    ("市民 张三 (citizen)", "13800000001", "acc_zhangsan"),
    ("市民 李四 (citizen)", "13800000002", "acc_lisi"),
    ("窗口 counter", "w01", "stf_w01"),
    ("审批 reviewer SAMR", "r01", "stf_r01"),
    ("审批 reviewer FIRE", "r02", "stf_r02"),
    ("督办 supervisor", "s01", "stf_s01"),
    ("运维 operator", "o01", "stf_o01"),
)


def demo_accounts() -> list[dict[str, str]]:
    """Whom one can sign in as; synthetic people of the demo data."""
    return [
        {"role": role, "login": login, "password": DEMO_PASSWORD, "id": account}
        for role, login, account in _DEMO
    ]


class State:
    """`state.json` in the data folder."""

    def __init__(self, data: Path) -> None:
        self._file = data / "state.json"
        self._known: dict[str, Any] = (
            json.loads(self._file.read_text()) if self._file.exists() else {"seeded": []}
        )

    def is_seeded(self, service: str) -> bool:
        return service in self._known["seeded"]

    def mark_seeded(self, service: str) -> None:
        if not self.is_seeded(service):
            self._known["seeded"].append(service)
            write_whole(self._file, self._known)

    def migrated(self, package: str) -> list[str] | None:
        """[digest of the migrations' text, version of the database] when it was last migrated."""
        found: list[str] | None = self._known.get("migrated", {}).get(package)
        return found

    def mark_migrated(self, package: str, digest: str, version: str) -> None:
        self._known.setdefault("migrated", {})[package] = [digest, version]
        write_whole(self._file, self._known)

    @property
    def durables(self) -> dict[str, list[str]] | None:
        """Each service's consumers as of the last start; None before the first."""
        found: dict[str, list[str]] | None = self._known.get("durables")
        return found

    def mark_durables(self, durables: dict[str, list[str]]) -> None:
        if durables != self.durables:
            self._known["durables"] = durables
            write_whole(self._file, self._known)

    @property
    def accounts(self) -> list[dict[str, str]]:
        return demo_accounts()


class Migrated:
    """Whether one database is where the code's migrations lead, told without Alembic."""

    def __init__(self, state: State, package: str, url: str) -> None:
        """`url`: postgresql://… of the runtime role; that it can read shows it has its rights."""
        self._state, self._package, self._url = state, package, url

    async def are_current(self) -> bool:
        known = self._state.migrated(self._package)
        return known is not None and known == [self._digest(), await self._version()]

    async def remember(self) -> None:
        self._state.mark_migrated(self._package, self._digest(), await self._version() or "")

    def _digest(self) -> str:
        spec = importlib.util.find_spec(self._package)
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent
        texts = [file.read_bytes() for file in sorted((folder / "migrations").glob("*.py"))]
        # Which tables are append-only is said in the models.
        return hashlib.sha256(b"\0".join([*texts, (folder / "models.py").read_bytes()])).hexdigest()

    async def _version(self) -> str | None:
        try:
            conn = await asyncpg.connect(self._url, timeout=SECONDS, command_timeout=SECONDS)
            try:
                version: str | None = await conn.fetchval("select version_num from alembic_version")
            finally:
                # Nobody needs its good-bye, which a busy server may let us wait for, too long.
                conn.terminate()
        except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
            return None
        return version
