"""What the programs stand on: PostgreSQL and NATS, embedded or given from outside."""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from kit.embedded import EmbeddedError, NatsServer, PostgresServer

from .place import Place
from .trouble import Trouble

Server = PostgresServer | NatsServer
POLL_SECONDS = 0.05
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before the next try to start what does not start; they double."""
LOOK_SECONDS = 2.0
"""How often one looks whether NATS, though alive, can still write."""


class Ground:
    """Starts both, watches both, starts again what died, stops both."""

    def __init__(self, place: Place, tell: Callable[[str, str], None]) -> None:
        """`tell(zh, en)` prints a line for the operator."""
        self._place, self._tell = place, tell
        self.outside_postgres = os.environ.get("BEAM_POSTGRES_URL", "")
        self.outside_nats = os.environ.get("BEAM_NATS_URL", "")
        self.postgres: PostgresServer | None = None
        self.nats: NatsServer | None = None
        self._starts: list[asyncio.Future[str]] = []
        self.changed: Callable[[], None] = lambda: None

    @property
    def admin_url(self) -> str:
        """postgresql://… of the administrator."""
        return self.postgres.dsn() if self.postgres else self.outside_postgres

    @property
    def nats_url(self) -> str:
        return self.nats.url if self.nats else self.outside_nats

    @property
    def monitor_url(self) -> str | None:
        return self.nats.monitor_url if self.nats else None

    async def start_postgres(self) -> None:
        if self.outside_postgres:
            return
        self.postgres = PostgresServer(self._place.data / "postgres", self._place.postgres_port)
        await self._start(self.postgres)

    async def start_nats(self, accounts: str) -> None:
        if self.outside_nats:
            # Somebody else runs the broker: this is what has to be in its configuration.
            file = self._place.data / "nats-accounts.conf"
            file.touch(0o600)
            file.write_text(accounts)
            await self._reach(self.outside_nats)
            return
        self.nats = NatsServer(
            self._place.data / "nats",
            accounts,
            self._place.nats_port,
            self._place.nats_monitor_port,
        )
        await self._start(self.nats)

    async def change_nats(self, accounts: str) -> None:
        """Other rights at the broker, without a new start."""
        if self.nats is None:
            (self._place.data / "nats-accounts.conf").write_text(accounts)
            return
        try:
            await asyncio.to_thread(self.nats.reload, accounts)
        except EmbeddedError as problem:
            raise Trouble(problem.zh, problem.en) from None

    async def _reach(self, urls: str) -> None:
        """One of the servers is enough."""
        tried = []
        for url in urls.split(","):
            parts = urlsplit(url)
            address = (parts.hostname or "127.0.0.1", parts.port or 4222)
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(*address), 5)
            except (OSError, TimeoutError, socket.gaierror):
                tried.append(f"{address[0]}:{address[1]}")
            else:
                writer.close()
                return
        where = ", ".join(tried)
        raise Trouble(
            f"无法连接 BEAM_NATS_URL 指定的 NATS({where})。请检查地址,或去掉该设置以使用"
            "内置 NATS。",
            f"Cannot reach the NATS of BEAM_NATS_URL ({where}). Check the address, or drop the "
            "setting to use the embedded NATS.",
        )

    async def watch(self) -> None:
        """Until cancelled: start again what has died. Neither waits for the other's return."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch("PostgreSQL", lambda: self.postgres))
            group.create_task(self._watch("NATS", lambda: self.nats))

    async def _watch(self, name: str, find: Callable[[], Server | None]) -> None:
        pause, looked = FIRST_PAUSE, time.monotonic()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if (server := find()) is None:
                return
            stuck = False
            if isinstance(server, NatsServer) and time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                stuck = server.poll() is None and await asyncio.to_thread(server.stuck)
            if stuck:
                self._tell(
                    "NATS 的存储曾写入失败,正在重新启动它",
                    "NATS could not write to its store, starting it again",
                )
                await asyncio.to_thread(server.stop)
            elif server.poll() is None:
                continue
            else:
                self._tell(f"{name} 已停止,正在重新启动", f"{name} has died, starting it again")
            if await self._restart(name, server):
                pause = FIRST_PAUSE
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _restart(self, name: str, server: Server) -> bool:
        try:
            await self._start(server)
        except Trouble as problem:
            self._tell(problem.zh, problem.en)
            return False
        self._tell(f"{name} 已恢复", f"{name} is back")
        self.changed()
        return True

    async def _start(self, server: Server) -> None:
        # A thread cannot be cancelled: `stop` waits for it, lest a server come up after it.
        start = asyncio.ensure_future(asyncio.to_thread(server.start))
        self._starts.append(start)
        try:
            await asyncio.shield(start)
        except EmbeddedError as problem:
            raise Trouble(problem.zh, problem.en) from None

    async def stop(self) -> None:
        """Stop both: sessions are cut, everything is written."""
        await asyncio.gather(*self._starts, return_exceptions=True)
        running = [server for server in (self.nats, self.postgres) if server is not None]
        await asyncio.gather(*(asyncio.to_thread(server.stop) for server in running))
