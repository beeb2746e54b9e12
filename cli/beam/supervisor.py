"""`beam run`: everything in order, watched, started again when it dies, stopped without a rest."""

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg

from . import VERSION
from .environment import Environment, broker_accounts, partners
from .ground import Ground
from .hosts import Host, Shared
from .nursery import Nursery
from .place import Place, write_whole
from .programs import GATEWAY, PROGRAMS, SANDBOX, Program
from .provision import Database, for_asyncpg, provision
from .screen import Screen
from .secret_store import SecretStore
from .state import Migrated, State
from .trouble import Trouble

T = TypeVar("T")
STOP_SECONDS = 15.0


class Supervisor:
    """One run. `run()` returns the exit code; `stop` asks it to end."""

    def __init__(
        self,
        place: Place,
        screen: Screen,
        *,
        programs: Sequence[Program] = PROGRAMS,
        demo_data: bool = True,
    ) -> None:
        self._place, self._screen, self._demo_data = place, screen, demo_data
        self._programs = programs
        self._stop = asyncio.Event()
        self._stopping = False
        self._began = time.monotonic()
        self._ground = Ground(place, screen.notice)
        self._ground.changed = self._write_run_file
        self._nursery = Nursery(place.logs / "zygote.log", place.run_file)
        self._secrets: SecretStore
        self._state: State
        self._databases: dict[str, Database] = {}
        self._inventory: dict[str, Any] = {}
        self._hosts: list[Host] = []
        self._parts: list[asyncio.Task[Any]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._zygote_back = asyncio.Event()
        self._failed: BaseException | None = None
        self._seconds = 0.0

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> int:
        """Start, serve until `stop`, end. Raises Trouble after everything was ended."""
        _adopt_orphans()
        starting, stopped = self._part(self._start()), self._part(self._stop.wait())
        try:
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                await stopped
            return 0
        finally:
            self._stopping = True
            for task in (*self._parts, *self._tasks):
                task.cancel()
            await asyncio.gather(*self._parts, *self._tasks, return_exceptions=True)
            await self._end()

    async def _start(self) -> None:
        place, say = self._place, self._screen.notice
        place.check_ports(
            self._programs,
            postgres=not self._ground.outside_postgres,
            nats=not self._ground.outside_nats,
        )
        self._secrets, self._state = SecretStore(place.data), State(place.data)
        say("正在启动 PostgreSQL,同时载入程序", "starting PostgreSQL while the programs load")
        database = self._part(self._start_database())
        known = self._state.durables
        # It may have much to recover: with what is known of the last start it need not wait.
        broker = self._part(self._start_broker(known)) if known is not None else None
        try:
            await self._start_zygote()
            self._inventory = await self._nursery.ask({"op": "inventory"})
        except ConnectionError:
            await asyncio.gather(database, *([broker] if broker else []), return_exceptions=True)
            log = (place.logs / "zygote.log").read_text().splitlines()
            raise Trouble(
                "程序载入失败:\n" + "\n".join(log[-12:]),
                "the programs cannot be imported, see above",
            ) from None
        self._refuse_missing()
        if broker is None:
            broker = self._part(self._start_broker(self._inventory["durables"]))
        keys = self._part(self._provision_keys())
        # All three come to their end before the first trouble is told: nothing starts after it.
        for result in await asyncio.gather(database, broker, keys, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        if known is not None and known != self._inventory["durables"]:
            await self._ground.change_nats(
                broker_accounts(self._secrets, self._inventory["durables"])
            )
        self._state.mark_durables(self._inventory["durables"])
        say("数据库与 NATS 就绪", "PostgreSQL and NATS are up")
        self._watch(self._ground.watch())
        self._hosts = self._plan()
        await asyncio.gather(*(self._bring_up(host) for host in self._hosts))
        self._seconds = time.monotonic() - self._began
        self._write_run_file()
        self._screen.table(self._run_document())
        say(f"全部就绪,用时 {self._seconds:.1f} 秒", f"all ready after {self._seconds:.1f} s")

    async def _start_database(self) -> None:
        await self._ground.start_postgres()
        try:
            self._databases = await provision(
                self._ground.admin_url, self._secrets.database_passwords()
            )
        except (OSError, asyncpg.PostgresError, RuntimeError) as exc:
            raise Trouble(
                f"无法准备数据库({type(exc).__name__}: {exc})。请检查 BEAM_POSTGRES_URL 的地址与"
                "权限(需要 CREATEDB 与 CREATEROLE)。",
                f"Cannot prepare the databases ({type(exc).__name__}: {exc}). Check address and "
                "rights of BEAM_POSTGRES_URL (it needs CREATEDB and CREATEROLE).",
            ) from None

    async def _start_broker(self, durables: dict[str, list[str]]) -> None:
        # In a thread: it imports, and the zygote's start shall not wait for that.
        accounts = await asyncio.to_thread(broker_accounts, self._secrets, durables)
        await self._ground.start_nats(accounts)

    async def _start_zygote(self) -> None:
        await self._nursery.start()
        self._zygote_back.set()
        self._watch(self._watch_zygote())

    async def _watch_zygote(self) -> None:
        while True:
            await self._nursery.wait()
            self._zygote_back.clear()
            if not self._hosts:
                return  # it died while loading: the start sees that for itself
            self._screen.notice(
                "派生进程(zygote)已停止,正在重新启动;各程序继续运行",
                "the zygote has died, starting it again; the programs go on",
            )
            await asyncio.sleep(0.2)
            await self._nursery.start()
            self._zygote_back.set()
            self._write_run_file()

    def _refuse_missing(self) -> None:
        wanted = {program.name for program in self._programs}
        missing = [name for name in self._inventory["missing"] if name in wanted]
        if missing:
            raise Trouble(
                f"缺少程序:{', '.join(missing)}。请重新执行 make install。",
                f"Programs are missing: {', '.join(missing)}. Run make install again.",
            )

    async def _provision_keys(self) -> None:
        if "sandbox" in self._inventory["missing"]:
            return
        await self._task("keys", "beam.tasks:provision_keys", [str(self._place.keys)])

    async def _task(self, name: str, function: str, arguments: list[str]) -> None:
        message = {"task": function, "arguments": arguments, "env": dict(os.environ)}
        child = await self._nursery.fork(name, message, self._screen.line)
        await child.ended.wait()
        told = child.told[-1] if child.told else {"error": "it ended without an answer"}
        if "error" in told:
            raise Trouble(
                f"{name} 失败:{told['error']}。详情见 {self._place.logs / name}.log",
                f"{name} failed: {told['error']}. See {self._place.logs / name}.log",
            )

    def _plan(self) -> list[Host]:
        environment = Environment(
            self._place, self._secrets, self._databases, self._ground.nats_url
        )
        shared = Shared(
            place=self._place,
            screen=self._screen,
            nursery=self._nursery,
            zygote_back=self._zygote_back,
            environment=environment,
            state=self._state,
            seeds=frozenset(self._inventory["seeds"] if self._demo_data else ()),
            changed=self._write_run_file,
        )
        if os.environ.get("BEAM_PROCS") == "1":
            return [Host("all", list(self._programs), shared)]
        return [Host(program.name, [program], shared) for program in self._programs]

    async def _bring_up(self, host: Host) -> None:
        """Migrate what the host needs, start it, wait until it is ready."""
        mine = [p for p in host.programs if p.kind == "service"]
        await asyncio.gather(*(self._migrate(program) for program in mine))
        self._watch(host.run())
        await host.ready.wait()

    async def _migrate(self, program: Program) -> None:
        if program.package not in self._inventory["tables"]:
            return
        database = self._databases[program.name]
        versions = Migrated(self._state, program.package, for_asyncpg(database.runtime_url))
        if await versions.are_current():
            return
        # Only now: a start that has nothing to migrate is spared Alembic's imports.
        await self._nursery.ask({"op": "import", "module": "kit.migrate"})
        role = urlsplit(database.runtime_url).username or ""
        arguments = [program.package, database.owner_url, role]
        await self._task(f"migrate-{program.name}", "beam.tasks:migrate", arguments)
        await versions.remember()

    def _part(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A part of the start that runs beside others and is cancelled with it."""
        task = asyncio.create_task(work)
        self._parts.append(task)
        return task

    def _watch(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that runs as long as we do."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            self._failed = problem
            self._stop.set()

    def _run_document(self) -> dict[str, Any]:
        place = self._place
        pids = {host.name: host.child.pid for host in self._hosts if host.child}
        pids |= {"supervisor": os.getpid(), "zygote": self._nursery.pid}
        for name, server in (("postgres", self._ground.postgres), ("nats", self._ground.nats)):
            if server is not None:
                pids[name] = server.pid
        admin = urlsplit(self._ground.admin_url)
        return {
            "version": VERSION,
            "gateway": place.url(GATEWAY),
            "services": {p.name: place.url(p) for p in self._programs if p.kind == "service"},
            "sandbox": place.url(SANDBOX) if SANDBOX in self._programs else None,
            "nats": {"url": self._ground.nats_url, "monitor": self._ground.monitor_url},
            "postgres": {
                name: for_asyncpg(database.runtime_url)
                for name, database in self._databases.items()
            },
            "postgres_address": f"{admin.hostname}:{admin.port or 5432}",
            "pids": pids,
            "accounts": self._state.accounts if self._demo_data else [],
            "partners": partners(self._secrets, self._ground.nats_url),
            "started_in_seconds": round(self._seconds, 2),
        }

    def _write_run_file(self) -> None:
        if self._seconds and not self._stopping:
            write_whole(self._place.run_file, self._run_document())

    async def _end(self) -> None:
        """Programs first, while what they stand on still works; then NATS and PostgreSQL."""
        self._place.run_file.unlink(missing_ok=True)
        children = [host.child for host in self._hosts if host.child is not None]
        await asyncio.gather(*(child.stop(STOP_SECONDS) for child in children))
        await self._nursery.stop()
        await self._ground.stop()
        if self._failed is not None:
            raise self._failed


def _adopt_orphans() -> None:
    """On Linux children of a zygote that died become ours, and none stays behind as a zombie."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)
