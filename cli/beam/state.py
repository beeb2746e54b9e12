"""What this data folder already has: migrated databases, demo data, demo accounts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from .place import write_whole

DEMO_PASSWORD = "Beam-demo-2026"
_DEMO = (
    ("市民 张三 (citizen)", "13800000001", "acc_zhangsan"),
    ("窗口 counter", "w01", "stf_w01"),
    ("审批 reviewer SAMR", "r01", "stf_r01"),
    ("审批 reviewer FIRE", "r02", "stf_r02"),
    ("督办 supervisor", "s01", "stf_s01"),
    ("运维 operator", "o01", "stf_o01"),
)


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

    async def is_migrated(self, package: str, url: str, heads: Mapping[str, str | None]) -> bool:
        """Whether the database is at the version that the code knows, asked as the runtime role
        (which also shows that it has its rights)."""
        try:
            conn = await asyncpg.connect(url, timeout=10, command_timeout=10)
            try:
                versions = await conn.fetch("select version_num from alembic_version")
            finally:
                await conn.close()
        except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
            return False
        return [row["version_num"] for row in versions] == [heads.get(package)]

    @property
    def accounts(self) -> list[dict[str, str]]:
        """Whom one can sign in as; synthetic people of the demo data."""
        return [
            {"role": role, "login": login, "password": DEMO_PASSWORD, "id": account}
            for role, login, account in _DEMO
        ]
