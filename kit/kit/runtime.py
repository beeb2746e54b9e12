"""What a running service has. Routes reach it as `request.app.state.runtime`, jobs get it as their
argument; anything of the service's own hangs in `runtime.parts`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from .auth import Keyring
from .bus import Bus
from .calls import Calls
from .creations import Creations
from .db import Sessions
from .db_watch import DatabaseWatch
from .lookups import Reader
from .pages import Cursors
from .secrets import Vault
from .settings import ServiceSettings
from .traces import Tracer
from .versions import Migrations

Check = Callable[[AsyncSession], Awaitable[dict[str, Any]]]
Checks = Mapping[str, Check]
"""Checks of a service's own books by name: each gives `{"ok": bool, …}`, read by operators and
looked at every few minutes."""


class Jobs(Protocol):
    """What is seen of a service's jobs from outside their module."""

    def wake(self, name: str) -> None: ...

    def health(self) -> list[dict[str, Any]]: ...

    def start(self, runtime: Any) -> None: ...

    async def stop(self) -> None: ...


@dataclass
class Runtime:
    """Everything that a running service holds."""

    settings: ServiceSettings
    engine: AsyncEngine
    sessions: Sessions
    keyring: Keyring
    vault: Vault
    cursors: Cursors
    calls: Calls
    bus: Bus
    jobs: Jobs
    tracer: Tracer | None
    migrations: Migrations
    database: DatabaseWatch
    lookups: Reader
    creations: Creations
    checks: Checks = field(default_factory=dict)
    boards: Checks = field(default_factory=dict)
    """What people have to see to, by name: counts without a verdict, for operators."""
    parts: dict[str, Any] = field(default_factory=dict)

    def wake(self, job: str) -> None:
        self.jobs.wake(job)
